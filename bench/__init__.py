"""Benchmarks that a user runs, on a phone too: `python -m bench.kernels`.

A file here is a command. `learning` is one too, and a room. The other rooms hold parts: `cases` of
`kernels`, `step` of `edge_step`, `device` of `phone`, `neon` of `neon_report`, `serving` of
`serve`, `shared` of several.
"""

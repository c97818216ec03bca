"""Benchmarks that a user runs, on a phone too: `python -m bench.kernels`."""

"""The parts of `python -m bench.neon_report`."""

"""The parts of `python -m bench.phone`."""

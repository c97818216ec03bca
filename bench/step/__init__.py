"""The parts of `python -m bench.edge_step`."""

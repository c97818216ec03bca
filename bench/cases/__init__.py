"""What `python -m bench.kernels` times."""

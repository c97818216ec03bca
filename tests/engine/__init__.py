"""The edge engine, by way of pyedge.kernels.Engine."""

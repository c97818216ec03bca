"""pyedge.kernels: each kernel on every path of this CPU."""

"""What is compiled: the C++ tests, the NEON code, other processors and their wheels."""

"""What several benchmarks use: the paper's students, what they learn from, timing."""

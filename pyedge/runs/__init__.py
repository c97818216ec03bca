"""What a run of learning is, on either side: its options, its state, its figures."""

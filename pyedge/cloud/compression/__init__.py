"""From a teacher to a shallow, thin student, by the zero activations of its filters (Sec. 3)."""

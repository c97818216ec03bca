"""A student, its graph and its file."""

"""What a class may be called, and which one is meant."""

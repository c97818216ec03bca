"""What classes are called."""

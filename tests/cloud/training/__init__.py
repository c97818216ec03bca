"""Training, and what it minimises."""

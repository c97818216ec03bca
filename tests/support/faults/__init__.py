"""What goes wrong around a service: each file has one kind, for a short test and a long run."""

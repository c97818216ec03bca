"""The tests, in rooms like those of the package; what they share is in `support`."""

"""Data sets for the cloud."""

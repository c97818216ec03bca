"""Anybody's file of weights into a network."""

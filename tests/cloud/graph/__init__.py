"""Anybody's network as a graph in one spelling."""

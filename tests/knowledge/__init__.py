"""Packs of a teacher's knowledge."""

"""Packs: what a teacher knows of some images, in a folder that is read without torch."""

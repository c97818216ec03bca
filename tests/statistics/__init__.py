"""Sums of features, classifiers of them, and their files."""

"""Weights as people have them: files of others, other names, other dtypes, and NaN."""

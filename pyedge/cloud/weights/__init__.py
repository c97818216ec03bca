"""Weights from elsewhere: other programs' files, other names, other dtypes, and NaN."""

"""One training loop, and its objectives: labels, transfer (Sec. 4), FitNet."""

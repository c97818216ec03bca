"""One training loop, and what is trained with it: labels, transfer (Sec. 4), FitNet."""

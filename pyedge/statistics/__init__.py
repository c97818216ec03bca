"""Statistics of a student's features: whole numbers that add up, and classifiers made of them."""

"""Statistics of a student's features, in whole numbers, and classifiers solved from them."""

"""The same step and the same inference on other engines, each in its own environment."""

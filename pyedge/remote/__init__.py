"""The device's side of a cloud: numpy and the standard library alone."""

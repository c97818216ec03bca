"""The project itself: its layers, its README, the list of the device's tests."""

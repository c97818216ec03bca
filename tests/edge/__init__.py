"""The learner on the device."""

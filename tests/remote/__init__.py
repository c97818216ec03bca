"""Tests of the device's side of a cloud."""

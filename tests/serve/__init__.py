"""Tests of the cloud's service."""

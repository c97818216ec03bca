"""The version, which pyproject.toml has too: a test holds the two together."""

__version__ = "0.1.0"

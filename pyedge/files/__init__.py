"""Files: written whole or not at all, locked, and checked when read."""

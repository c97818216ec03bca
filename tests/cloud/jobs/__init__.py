"""Jobs on a local Ray of two processes."""

"""What runs in a peer's own environment: numpy, the peer, and nothing of pyedge but in `ours`."""

"""What needs torch: networks as people have them, and what is read of them."""

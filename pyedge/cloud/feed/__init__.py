"""What networks are fed with: loaders and batches as people have them, in one shape."""

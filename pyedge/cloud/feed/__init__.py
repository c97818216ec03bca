"""What networks are fed with: loaders and batches in any usual form, brought to one form."""

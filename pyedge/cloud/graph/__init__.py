"""Any network as a torch.fx graph in one spelling, with its groups and blocks."""

"""Names of classes: which are allowed, and which class a name means."""

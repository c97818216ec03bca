"""pyedge.export."""

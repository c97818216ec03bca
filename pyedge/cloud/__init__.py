"""The cloud side: profile, compress, transfer and evaluate networks with torch."""

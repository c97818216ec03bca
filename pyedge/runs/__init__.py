"""Training runs, on the device or in the cloud: options, state, figures."""

"""From a torch student to a file for devices: lower the graph, check it, write it."""

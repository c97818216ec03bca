"""From a student of torch to a file for devices: lower the graph, check it, write it."""

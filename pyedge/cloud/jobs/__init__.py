"""Jobs: what takes long over many images, by many processes or machines, as data sets of Ray."""

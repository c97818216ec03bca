"""What a teacher knows of some images, in a folder: a pack, read where there is no torch."""

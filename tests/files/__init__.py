"""Writing and reading, on disks as people have them."""

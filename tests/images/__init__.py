"""Images as people have them: arrays, files, folders, archives."""

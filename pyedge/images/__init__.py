"""Images as people have them, to arrays that a student takes. numpy alone; Pillow decodes files."""

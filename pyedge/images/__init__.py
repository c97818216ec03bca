"""Images in any usual form, to arrays that a student takes. Needs numpy; Pillow decodes files."""

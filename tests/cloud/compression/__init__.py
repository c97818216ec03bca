"""Plans, students that are cut by them, and the report."""

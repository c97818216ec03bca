"""A student: its graph, its file, and what is made of it. numpy alone."""

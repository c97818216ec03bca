"""The service: students, knowledge, categories and sums for many devices (extra `serve`)."""

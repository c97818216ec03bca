"""The addresses of the service: what each takes and answers."""

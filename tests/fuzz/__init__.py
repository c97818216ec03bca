"""What atheris runs: readers of files from elsewhere, on any bytes."""

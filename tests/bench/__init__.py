"""The numbers the project promises, measured; `make bench` prints them as JSON lines."""

"""The compose file, run for real: `make test-compose`."""

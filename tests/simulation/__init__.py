"""How often the checks are right: `make simulate` writes the table of docs/checks.md."""

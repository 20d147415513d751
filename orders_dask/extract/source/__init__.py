"""Objects of the dump, and their compression."""

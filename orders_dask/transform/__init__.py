"""Normalise orders into facts and dimension rows, and deduplicate versions: pure Arrow, no I/O."""

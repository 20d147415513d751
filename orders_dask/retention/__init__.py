"""Deleting loads, partitions and stage files that nobody needs any more."""

"""Delete loads, partitions, stage files and raw texts that nobody needs any more."""

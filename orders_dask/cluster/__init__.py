"""The Dask cluster: connecting to it, submitting tasks, and keeping pandas out of its processes."""

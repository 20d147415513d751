"""The Dask cluster: connecting, submitting tasks, and what its processes do without."""

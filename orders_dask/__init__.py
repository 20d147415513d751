"""Raw order dumps on S3 become typed, normalised, published run dates in PostgreSQL."""

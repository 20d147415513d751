"""Sessions, locks, schema, partitions and COPY into PostgreSQL."""

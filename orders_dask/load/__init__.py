"""Into PostgreSQL: COPY, the ledger, publishing."""

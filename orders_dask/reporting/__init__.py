"""A report of run dates as one HTML file: ledger queries, geometry of charts, and templates."""

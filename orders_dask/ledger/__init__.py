"""The ledger in schema `orders_ops`: leases, loads, rejects, and queries on them."""

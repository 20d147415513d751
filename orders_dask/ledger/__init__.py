"""The ledger in schema `orders_ops`: leases, loads, rejects, and the queries on them."""

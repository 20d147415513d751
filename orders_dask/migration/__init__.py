"""Upgrade a database in place: what ``orders-dask migrate`` does. See docs/upgrading.md."""

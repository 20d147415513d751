"""The order contract: tables, the schemas derived from them, and the rules for bad values.

docs/contract.md specifies it. Importing any module of this package declares all tables, so
:data:`orders_dask.contract.columns.METADATA` is complete.
"""

from orders_dask.contract import ledger_tables, order_tables, storage_tables

__all__ = ["ledger_tables", "order_tables", "storage_tables"]

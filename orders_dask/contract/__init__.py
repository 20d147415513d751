"""What an order is: tables, derived schemas, and what a bad value gets.

Importing any module of it declares all tables, so ``columns.METADATA`` is complete.
"""

from orders_dask.contract import ledger_tables, order_tables, storage_tables

__all__ = ["ledger_tables", "order_tables", "storage_tables"]

"""Alias of :mod:`orders_dask.cluster.block_pandas` for ``dask worker --preload``."""

from orders_dask.cluster.block_pandas import dask_setup

__all__ = ["dask_setup"]

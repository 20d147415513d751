"""The name under which `dask worker --preload` knows :mod:`orders_dask.cluster.block_pandas`."""

from orders_dask.cluster.block_pandas import dask_setup

__all__ = ["dask_setup"]

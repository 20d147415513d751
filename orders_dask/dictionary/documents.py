"""All documents that describe what people read."""

from __future__ import annotations

from collections.abc import Sequence

from orders_dask.dictionary import dbt, markdown, odcs
from orders_dask.dictionary.description import TableDescription


def documents(tables: Sequence[TableDescription]) -> dict[str, str]:
    """Return the text of each document, by the name of its file."""
    return {
        "dictionary.md": markdown.dictionary(tables),
        "er.md": markdown.diagram(tables),
        "sources.yml": dbt.sources(tables),
        "contract.odcs.yaml": odcs.contract(tables),
    }

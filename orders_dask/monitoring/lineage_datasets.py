"""The data sets of a load with their facets, by the classes of OpenLineage's client."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any, Final, TypeVar

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    base_subset_dataset,
    column_lineage_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
)
from sqlalchemy import Table

from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.order_tables import public_columns
from orders_dask.monitoring.column_sources import (
    ColumnSource,
    column_sources,
    source_keys,
    sql_type,
)
from orders_dask.monitoring.load_lineage import DatasetName, LineageCounts, LoadLineage

Facet = TypeVar("Facet")

MAX_FILES: Final = 1_000
"""Files that an event names: a name has some 100 bytes, and receivers bound an event's size."""

VERSION: Final = metadata.version("orders_dask")

PRODUCER: Final = f"urn:orders-dask:{VERSION}"
"""What every event and facet names as its maker."""


FILES_FACET: Final = "orders_dask_files"
"""Facet of ours: the specification has no place for the ETag and the size of a file."""


@attr.define
class FilesDatasetFacet(DatasetFacet):
    """The files of a dump, each with name, ETag and bytes."""

    files: list[dict[str, Any]] = attr.field(kw_only=True)

    @staticmethod
    def _get_schema() -> str:
        # That of any facet, which allows more members.
        return DatasetFacet._get_schema()


def make_facet(kind: Callable[..., Facet], **values: Any) -> Facet:
    """Make a facet; without its producer it would have the one that others set for the process."""
    return kind(**values, producer=PRODUCER)


def dump_dataset(load: LoadLineage, counts: LineageCounts | None) -> InputDataset:
    """Return the dump with its version, keys and files."""
    keys = [
        schema_dataset.SchemaDatasetFacetFields(path, kind) for path, kind in source_keys().items()
    ]
    named = load.files[:MAX_FILES]
    files = base_subset_dataset.LocationSubsetCondition([file.name for file in named])
    return InputDataset(
        *load.dump,
        facets={
            "version": make_facet(
                dataset_version_dataset.DatasetVersionDatasetFacet, datasetVersion=load.fingerprint
            ),
            "schema": make_facet(schema_dataset.SchemaDatasetFacet, fields=keys),
            FILES_FACET: make_facet(FilesDatasetFacet, files=[file._asdict() for file in named]),
        },
        inputFacets={
            "subset": make_facet(
                base_subset_dataset.InputSubsetInputDatasetFacet, inputCondition=files
            ),
            "inputStatistics": make_facet(
                input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
                rowCount=counts[0] if counts else None,
                size=sum(file.bytes for file in load.files),
                fileCount=len(load.files),
            ),
        },
    )


def table_dataset(load: LoadLineage, table: Table, counts: LineageCounts | None) -> OutputDataset:
    """Return a table with its columns, where each comes from, and the number of rows written."""
    fields = [
        schema_dataset.SchemaDatasetFacetFields(
            column.name, sql_type(column), column.comment, ordinal_position=number
        )
        for number, column in enumerate(public_columns(table), 1)
    ]
    lineage = {
        column.name: column_lineage_dataset.Fields([_input(load.dump, each) for each in sources])
        for column in public_columns(table)
        if (sources := column_sources(table, column))
    }
    rows = counts[1].get(table.name) if counts else None
    statistics = make_facet(
        output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet, rowCount=rows
    )
    return OutputDataset(
        *table_name(load, table),
        facets={
            "schema": make_facet(schema_dataset.SchemaDatasetFacet, fields=fields),
            "columnLineage": make_facet(
                column_lineage_dataset.ColumnLineageDatasetFacet, fields=lineage
            ),
        },
        outputFacets={} if rows is None else {"outputStatistics": statistics},
    )


def table_name(load: LoadLineage, table: Table) -> DatasetName:
    """Return the name of a table that people read."""
    return DatasetName(load.server, f"{load.database}.{PUBLIC}.{table.name}")


def _input(dump: DatasetName, source: ColumnSource) -> column_lineage_dataset.InputField:
    kind = "INDIRECT" if source.use == "CONDITIONAL" else "DIRECT"
    use = column_lineage_dataset.Transformation(kind, source.use, masking=False)
    return column_lineage_dataset.InputField(*dump, source.path, [use])

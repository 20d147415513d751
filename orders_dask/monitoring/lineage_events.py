"""Make the events of :mod:`orders_dask.monitoring.lineage` by the classes of OpenLineage's client.

Of these classes, each is generated from a published schema of https://openlineage.io/spec.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from importlib import metadata
from typing import Any, Final, TypeVar
from uuid import UUID

from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    base_subset_dataset,
    column_lineage_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    tags_run,
)
from openlineage.client.uuid import generate_new_uuid
from sqlalchemy import Table

from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.order_tables import public_columns
from orders_dask.monitoring.column_sources import (
    PUBLIC_TABLES,
    ColumnSource,
    column_sources,
    source_keys,
    sql_type,
)
from orders_dask.monitoring.load_lineage import DatasetName, LineageCounts, LoadLineage

Facet = TypeVar("Facet")

LOG: Final = logging.getLogger("orders_dask")

MAX_FILES: Final = 1_000
"""Files that an event names: a name has some 100 bytes, and receivers bound an event's size."""

NAMESPACE: Final = "OPENLINEAGE_NAMESPACE"
"""Variable of the namespace of the job, as OpenLineage's integrations have it."""

PARENT: Final = "OPENLINEAGE_PARENT_ID"
"""Variable of the parent run, ``namespace/name/run_id``, as Airflow's macro and dbt-ol have it."""

ROOT: Final = "OPENLINEAGE_ROOT_PARENT_ID"
"""Variable of the first run of a tree of runs."""

_VERSION: Final = metadata.version("orders_dask")

_PRODUCER: Final = f"urn:orders-dask:{_VERSION}"


def new_run(load: LoadLineage) -> Run:
    """Return the run of a load, with its facets."""
    facets = {
        "nominalTime": _facet(
            nominal_time_run.NominalTimeRunFacet,
            nominalStartTime=_midnight(load, load.run_date),
            nominalEndTime=_midnight(load, load.run_date + timedelta(days=1)),
        ),
        "processing_engine": _facet(
            processing_engine_run.ProcessingEngineRunFacet,
            name="dask",
            version=metadata.version("dask"),
            openlineageAdapterVersion=_VERSION,
        ),
        "tags": _facet(
            tags_run.TagsRunFacet,
            tags=[tags_run.TagsRunFacetFields("load_id", str(load.load_id), "orders_dask")],
        ),
    }
    if parent := _parent_facet():
        facets["parent"] = parent
    return Run(str(generate_new_uuid()), facets)


def start_event(load: LoadLineage, run: Run) -> RunEvent:
    """Return the event of a load that begins."""
    tables = [OutputDataset(*_table_name(load, table)) for table in PUBLIC_TABLES]
    return _event(RunState.START, load, run, [_dump(load, None)], tables)


def complete_event(load: LoadLineage, run: Run, counts: LineageCounts | None) -> RunEvent:
    """Return the event of a load that is published, with what it read and wrote."""
    tables = [_table(load, table, counts) for table in PUBLIC_TABLES]
    return _event(RunState.COMPLETE, load, run, [_dump(load, counts)], tables)


def failed_event(load: LoadLineage, run: Run, message: str, *, is_cancelled: bool) -> RunEvent:
    """Return the event of a load that is not published, with the reason."""
    error = _facet(
        error_message_run.ErrorMessageRunFacet, message=message, programmingLanguage="PYTHON"
    )
    failed = Run(run.runId, {**(run.facets or {}), "errorMessage": error})
    state = RunState.ABORT if is_cancelled else RunState.FAIL
    return _event(state, load, failed, [_dump(load, None)], [])


def _event(
    state: RunState,
    load: LoadLineage,
    run: Run,
    inputs: list[InputDataset],
    outputs: list[OutputDataset],
) -> RunEvent:
    kind = _facet(
        job_type_job.JobTypeJobFacet,
        processingType="BATCH",
        integration="ORDERS_DASK",
        jobType="JOB",
    )
    namespace = os.environ.get(NAMESPACE) or "orders_dask"
    return RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=run,
        job=Job(namespace, f"{load.database}.load", {"jobType": kind}),
        inputs=inputs,
        outputs=outputs,
        producer=_PRODUCER,
    )


def _facet(kind: Callable[..., Facet], **values: Any) -> Facet:
    """Make a facet; without its producer it would have the one that others set for the process."""
    return kind(**values, producer=_PRODUCER)


def _midnight(load: LoadLineage, day: date) -> str:
    return datetime.combine(day, time_of_day(), load.zone).isoformat()


def _dump(load: LoadLineage, counts: LineageCounts | None) -> InputDataset:
    """Return the dump with its version, keys and files."""
    keys = [
        schema_dataset.SchemaDatasetFacetFields(path, kind) for path, kind in source_keys().items()
    ]
    files = base_subset_dataset.LocationSubsetCondition(list(load.files[:MAX_FILES]))
    return InputDataset(
        *load.dump,
        facets={
            "version": _facet(
                dataset_version_dataset.DatasetVersionDatasetFacet, datasetVersion=load.fingerprint
            ),
            "schema": _facet(schema_dataset.SchemaDatasetFacet, fields=keys),
        },
        inputFacets={
            "subset": _facet(
                base_subset_dataset.InputSubsetInputDatasetFacet, inputCondition=files
            ),
            "inputStatistics": _facet(
                input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
                rowCount=counts[0] if counts else None,
                size=load.size,
                fileCount=len(load.files),
            ),
        },
    )


def _table(load: LoadLineage, table: Table, counts: LineageCounts | None) -> OutputDataset:
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
    statistics = _facet(
        output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet, rowCount=rows
    )
    return OutputDataset(
        *_table_name(load, table),
        facets={
            "schema": _facet(schema_dataset.SchemaDatasetFacet, fields=fields),
            "columnLineage": _facet(
                column_lineage_dataset.ColumnLineageDatasetFacet, fields=lineage
            ),
        },
        outputFacets={} if rows is None else {"outputStatistics": statistics},
    )


def _table_name(load: LoadLineage, table: Table) -> DatasetName:
    return DatasetName(load.server, f"{load.database}.{PUBLIC}.{table.name}")


def _input(dump: DatasetName, source: ColumnSource) -> column_lineage_dataset.InputField:
    kind = "INDIRECT" if source.use == "CONDITIONAL" else "DIRECT"
    use = column_lineage_dataset.Transformation(kind, source.use, masking=False)
    return column_lineage_dataset.InputField(*dump, source.path, [use])


def _parent_facet() -> parent_run.ParentRunFacet | None:
    """Return the parent run that the environment names; None if it names none, or a wrong one."""
    parent, root = _run_id(PARENT), _run_id(ROOT)
    if parent is None:
        return None
    namespace, name, run_id = parent
    first = root or parent
    return _facet(
        parent_run.ParentRunFacet,
        run=parent_run.Run(run_id),
        job=parent_run.Job(namespace, name),
        root=parent_run.Root(parent_run.RootRun(first[2]), parent_run.RootJob(first[0], first[1])),
    )


def _run_id(variable: str) -> tuple[str, str, str] | None:
    """Return namespace, name and id of the run that a variable names."""
    value = os.environ.get(variable, "")
    if not value:
        return None
    try:
        namespace, name, run_id = value.rsplit("/", 2)
        return namespace, name, str(UUID(run_id))
    except ValueError:
        LOG.warning("%s is left out of lineage: it must be namespace/name/run_id.", variable)
        return None

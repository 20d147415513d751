"""Make the events of :mod:`orders_dask.monitoring.lineage` by the classes of OpenLineage's client.

Each of these classes is generated from a published schema of https://openlineage.io/spec.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import cache
from importlib import metadata
from typing import Final
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
    RunFacet,
    error_message_run,
    job_type_job,
    nominal_time_run,
    parent_run,
    processing_engine_run,
    tags_run,
)

from orders_dask.monitoring.column_sources import PUBLIC_TABLES
from orders_dask.monitoring.lineage_datasets import (
    PRODUCER,
    VERSION,
    dump_dataset,
    make_facet,
    table_dataset,
    table_name,
)
from orders_dask.monitoring.load_lineage import LineageCounts, LoadLineage

LOG: Final = logging.getLogger("orders_dask")

NAMESPACE: Final = "OPENLINEAGE_NAMESPACE"
"""Variable of the namespace of the job, as OpenLineage's integrations have it."""

PARENT: Final = "OPENLINEAGE_PARENT_ID"
"""Variable of the parent run, ``namespace/name/run_id``, as Airflow's macro and dbt-ol have it."""

ROOT: Final = "OPENLINEAGE_ROOT_PARENT_ID"
"""Variable of the first run of a tree of runs."""


def start_event(load: LoadLineage, run_id: str) -> RunEvent:
    """Return the event of a load that begins."""
    tables = [OutputDataset(*table_name(load, table)) for table in PUBLIC_TABLES]
    return _event(RunState.START, load, _run(load, run_id), [dump_dataset(load, None)], tables)


def complete_event(load: LoadLineage, run_id: str, counts: LineageCounts | None) -> RunEvent:
    """Return the event of a load that is published, with what it read and wrote."""
    tables = [table_dataset(load, table, counts) for table in PUBLIC_TABLES]
    return _event(RunState.COMPLETE, load, _run(load, run_id), [dump_dataset(load, counts)], tables)


def failed_event(load: LoadLineage, run_id: str, message: str, *, is_cancelled: bool) -> RunEvent:
    """Return the event of a load that is not published, with the reason."""
    error = make_facet(
        error_message_run.ErrorMessageRunFacet, message=message, programmingLanguage="PYTHON"
    )
    failed = _run(load, run_id, errorMessage=error)
    state = RunState.ABORT if is_cancelled else RunState.FAIL
    return _event(state, load, failed, [dump_dataset(load, None)], [])


def _event(
    state: RunState,
    load: LoadLineage,
    run: Run,
    inputs: list[InputDataset],
    outputs: list[OutputDataset],
) -> RunEvent:
    kind = make_facet(
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
        producer=PRODUCER,
    )


def _run(load: LoadLineage, run_id: str, **more: RunFacet) -> Run:
    """Return the run of a load, with its facets."""
    facets: dict[str, RunFacet] = {
        "nominalTime": make_facet(
            nominal_time_run.NominalTimeRunFacet,
            nominalStartTime=_midnight(load, load.run_date),
            nominalEndTime=_midnight(load, load.run_date + timedelta(days=1)),
        ),
        "processing_engine": make_facet(
            processing_engine_run.ProcessingEngineRunFacet,
            name="dask",
            version=metadata.version("dask"),
            openlineageAdapterVersion=VERSION,
        ),
        "tags": make_facet(
            tags_run.TagsRunFacet,
            tags=[tags_run.TagsRunFacetFields("load_id", str(load.load_id), "orders_dask")],
        ),
    }
    if parent := _parent_facet():
        facets["parent"] = parent
    return Run(run_id, facets | more)


def _midnight(load: LoadLineage, day: date) -> str:
    return datetime.combine(day, time_of_day(), load.zone).isoformat()


def _parent_facet() -> parent_run.ParentRunFacet | None:
    """Return the parent run that the environment names; None if it names none, or a wrong one."""
    parent, root = (
        _named_run(PARENT, os.environ.get(PARENT)),
        _named_run(ROOT, os.environ.get(ROOT)),
    )
    if parent is None:
        return None
    namespace, name, run_id = parent
    first = root or parent
    return make_facet(
        parent_run.ParentRunFacet,
        run=parent_run.Run(run_id),
        job=parent_run.Job(namespace, name),
        root=parent_run.Root(parent_run.RootRun(first[2]), parent_run.RootJob(first[0], first[1])),
    )


@cache
def _named_run(variable: str, value: str | None) -> tuple[str, str, str] | None:
    """Return namespace, name and id of the run that a variable names; warn once of a wrong one."""
    if not value:
        return None
    try:
        namespace, name, run_id = value.rsplit("/", 2)
        return namespace, name, str(UUID(run_id))
    except ValueError:
        LOG.warning("%s is left out of lineage: it must be namespace/name/run_id.", variable)
        return None

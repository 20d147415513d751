"""The tables of the ledger: loads, their files and parts, rejected records and issues."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    Identity,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from orders_dask.contract.columns import (
    BOOLEAN,
    COUNT,
    DATE,
    ID,
    METADATA,
    OPS,
    TEXT,
    TIMESTAMP,
)
from orders_dask.contract.order_tables import FACTS

schema_info = Table(
    "schema_info",
    METADATA,
    Column(
        "contract_version",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="Version of the contract",
    ),
    Column(
        "partition_width",
        TEXT,
        nullable=False,
        comment="What a partition of the storage holds: month or day",
    ),
    Column(
        "views_hash", TEXT, nullable=False, comment="Hash of the definitions of the public views"
    ),
    Column(
        "database_id",
        TEXT,
        nullable=False,
        server_default=func.gen_random_uuid().cast(TEXT),
        comment="Tells this database's loads from those of others that share its stage",
    ),
    Column(
        "oldest_code_version",
        Integer,
        comment="Oldest version of the contract whose code can work on these tables",
    ),
    schema=OPS,
    comment="What `orders-dask init` made, in one row",
)


storage_partition = Table(
    "storage_partition",
    METADATA,
    Column("first_date", DATE, primary_key=True, comment="First run date that it holds"),
    Column("end_date", DATE, nullable=False, comment="First run date after it"),
    Column(
        "wait_for",
        ARRAY(TEXT),
        comment="Transactions that began before it was attached: they may not see it, so a publish "
        "into it waits for them; null until somebody has asked for them",
    ),
    Column(
        "draining",
        ARRAY(TEXT),
        comment="Transactions that may still see what was published in it: it is dropped when they "
        "have ended; null while it stays",
    ),
    schema=OPS,
    comment="The partitions of the fact storage: a row commits with the partition in all tables",
)


STATUSES: Final = (
    "loading",  # parts may still commit
    "sealed",  # no part can commit any more
    "verified",  # it is reconciled
    "published",  # readers see it
    "replaced",  # was published until a later load of its date was
    "unpublished",  # was published until its date was rolled back or unpublished
    "refused",  # its data was refused
    "failed",  # it ended with an error
    "abandoned",  # its run died; a later one sealed it off
    "comparison",  # it was loaded only to be compared with what is published
    "held",  # a check found something: it waits for somebody to accept or discard it
    "discarded",  # it was held, and then discarded, or a later load took its place
)


load_run = Table(
    "load_run",
    METADATA,
    Column("load_id", ID, Identity(), primary_key=True, comment="Never used again"),
    Column("run_date", DATE, nullable=False, comment="The run date"),
    Column("status", TEXT, nullable=False, comment="loading, sealed, verified, published, ..."),
    Column("source", TEXT, nullable=False, comment="The source URL as configured"),
    Column(
        "fingerprint", TEXT, nullable=False, comment="Hash of files, ETags, contract and settings"
    ),
    Column("run_by", TEXT, nullable=False, comment="Who runs it: process and host"),
    Column("started_at", TIMESTAMP, nullable=False, server_default=func.now(), comment="Begin"),
    Column(
        "source_read_at",
        TIMESTAMP,
        nullable=False,
        server_default=func.now(),
        comment="What the age of its texts counts from: its begin; of a replay, that of the load "
        "before",
    ),
    Column("finished_at", TIMESTAMP, comment="End, whatever it was"),
    Column("published_at", TIMESTAMP, comment="When it was last published"),
    Column("replaced_load_id", ID, comment="The load that readers saw before, where there was one"),
    Column(
        "can_roll_back",
        BOOLEAN,
        nullable=False,
        server_default=false(),
        comment="Whether its publish can be rolled back: what it replaced and overwrote is kept",
    ),
    Column(
        "unpublished_at",
        TIMESTAMP,
        comment="When readers stopped seeing it: replaced or unpublished",
    ),
    Column("pruned_at", TIMESTAMP, comment="When its rows were removed from the storage"),
    Column("message", TEXT, comment="Why it was refused or failed"),
    Column("step_seconds", JSONB, comment="Wall seconds of each step"),
    Column("step_metrics", JSONB, comment="Seconds, CPU seconds and bytes of all tasks, by step"),
    Column(
        "schema_drift",
        JSONB,
        comment="Keys that the contract doesn't know: by path the records, kinds and sample",
    ),
    Column(
        "left_out", JSONB, comment="Names of objects beside the dump that are none by convention"
    ),
    Column("measures", JSONB, comment="Figures of the load that checks compare later loads with"),
    Column("reviewed_at", TIMESTAMP, comment="When it was accepted, discarded or rolled back"),
    Column("reviewed_by", TEXT, comment="Who did that: user and host"),
    Column("review_note", TEXT, comment="Why, as they said"),
    Column(
        "columns", JSONB, comment="The columns that its rows have, each with its type and source"
    ),
    CheckConstraint("status in ({})".format(", ".join(f"'{s}'" for s in STATUSES)), name="status"),
    Index("load_run_run_date", "run_date"),
    Index(
        "load_run_one_active",
        "run_date",
        unique=True,
        postgresql_where="status in ('loading', 'sealed', 'verified')",
    ),
    schema=OPS,
    comment="Every load: a run of one run date",
)


def counter_column(fact: Table, counter: str) -> str:
    """Return the ledger's column for a counter of a fact, such as ``order_line_rejected``."""
    return f"{fact.name.removeprefix('fact_')}_{counter}"


FILE_COUNTERS: Final = ("read", "loaded", "superseded", "rejected")
"""Counters of each file and fact. See docs/contract.md#reconciliation."""


load_file = Table(
    "load_file",
    METADATA,
    Column(
        "file_id", ID, Identity(), primary_key=True, comment="Named by fact_order.source_file_id"
    ),
    Column("load_id", ID, nullable=False, comment="The load"),
    Column("name", TEXT, nullable=False, comment="Full name; zip://MEMBER::ZIP for a zip's member"),
    Column("etag", TEXT, comment="ETag, or what stands for it, of the object"),
    Column("bytes", ID, comment="Size of the file as stored"),
    Column("unreadable", BOOLEAN, nullable=False, comment="Not read to its end"),
    *(
        Column(
            counter_column(fact, counter),
            COUNT,
            nullable=False,
            server_default="0",
            comment=f"{fact.name}: {counter}",
        )
        for fact in FACTS
        for counter in FILE_COUNTERS
    ),
    UniqueConstraint("load_id", "name"),
    schema=OPS,
    comment="Every file of every load, with its counters: read = loaded + superseded + rejected",
)


load_part = Table(
    "load_part",
    METADATA,
    Column("load_id", ID, primary_key=True, comment="The load"),
    Column("part", TEXT, primary_key=True, comment="The stage part"),
    Column(
        "loaded_at", TIMESTAMP, nullable=False, server_default=func.now(), comment="When it was"
    ),
    Column("seconds", Float, comment="Wall seconds it took"),
    Column("rows", JSONB, nullable=False, comment="Rows copied, by table"),
    Column(
        "superseded",
        JSONB,
        nullable=False,
        comment="What another version superseded, by fact: control totals (rows, and sums of money "
        "by currency), rows by file",
    ),
    schema=OPS,
    comment="The parts that are loaded: the row commits with the part's own rows",
)


rejected_record = Table(
    "rejected_record",
    METADATA,
    Column("load_id", ID, nullable=False, comment="The load"),
    Column("file_id", ID, nullable=False, comment="The file"),
    Column("position", ID, nullable=False, comment="Number of the record in that file, from 1"),
    Column(
        "path", TEXT, nullable=False, comment="Empty for the record, else a child: line_items[3]"
    ),
    Column("code", TEXT, nullable=False, comment="The contract's code of what is wrong"),
    Column("message", TEXT, nullable=False, comment="What is wrong, for people"),
    *(
        Column(
            counter_column(fact, "rejected"),
            COUNT,
            nullable=False,
            server_default="0",
            comment=f"{fact.name} records rejected with it, itself included",
        )
        for fact in FACTS
    ),
    Column("raw", TEXT, comment="The text as it stood, cut at 64 KiB; personal data"),
    Column(
        "order_raw",
        TEXT,
        comment="The text of the order that a rejected child belongs to, cut at 64 KiB; on the "
        "first of its rejected children; personal data",
    ),
    Column(
        "corrected_raw",
        TEXT,
        comment="The text as people corrected it, for a child that of its whole order: a replay "
        "reads it instead of raw or order_raw",
    ),
    Column("replay_load_id", ID, comment="The load that last replayed it"),
    Column("replay_result", TEXT, comment="What became of it there"),
    Index("rejected_record_load_id", "load_id"),
    schema=OPS,
    comment="What was rejected, why, and where it stands",
)


check_finding = Table(
    "check_finding",
    METADATA,
    Column("load_id", ID, primary_key=True, comment="The load"),
    Column("number", Integer, primary_key=True, comment="Its number in the load, from 1"),
    Column("check_name", TEXT, nullable=False, comment="The check, docs/checks.md"),
    Column("severity", TEXT, nullable=False, comment="warn, or hold: then the load was held"),
    Column("message", TEXT, nullable=False, comment="What was found, for people"),
    schema=OPS,
    comment="What the checks of a load found before it was published",
)


alert = Table(
    "alert",
    METADATA,
    Column("alert_id", ID, Identity(), primary_key=True, comment="Never used again"),
    Column("run_date", DATE, nullable=False, comment="The run date"),
    Column("kind", TEXT, nullable=False, comment="held, refused, failed or late"),
    Column("message", TEXT, nullable=False, comment="What was said, for people"),
    Column("sent_at", TIMESTAMP, comment="When somebody took it; null: it is sent once more"),
    Column("recovered_at", TIMESTAMP, comment="When the run date was all right again"),
    Index(
        "alert_one_open",
        "run_date",
        "kind",
        unique=True,
        postgresql_where="recovered_at is null",
    ),
    schema=OPS,
    comment="Alerts that were sent: one of a kind and run date until it is all right again",
)


data_issue = Table(
    "data_issue",
    METADATA,
    Column("load_id", ID, primary_key=True, comment="The load"),
    Column("file_id", ID, primary_key=True, comment="The file"),
    Column(
        "field",
        TEXT,
        primary_key=True,
        comment="Dotted path of the value, such as line_items[].price",
    ),
    Column(
        "code", TEXT, primary_key=True, comment="The contract's code of what was repaired or nulled"
    ),
    Column("value_count", COUNT, nullable=False, comment="How many values"),
    Column("samples", JSONB, nullable=False, comment="A few of them: position and text"),
    schema=OPS,
    comment="What was repaired or nulled, counted",
)

"""The catalogue of a database: all that is in our schemas, to compare two databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

# Names of NOT NULL constraints, which PostgreSQL 18 has, and comments of partitions are left out:
# nobody sees them, and they keep what they were when a table was made.
_CATALOGUE = """
with ours as (
    select * from pg_class where relnamespace::regnamespace::text like 'orders%'
)
select 'relation', oid::regclass::text, relkind::text, null,
    (select string_agg(acl::text, ',' order by acl::text) from unnest(relacl) acl)
from ours
union all
select 'column', ours.oid::regclass::text, attname, case when relkind = 'v' then attnum::text end,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity,
        pg_get_expr(adbin, adrelid), case when not relispartition then col_description(ours.oid, attnum) end,
        attacl::text)
from ours join pg_attribute on attrelid = ours.oid
left join pg_attrdef on adrelid = ours.oid and adnum = attnum
where attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v')
union all
select 'comment', oid::regclass::text, null, null, obj_description(oid, 'pg_class')
from ours where not relispartition
union all
select 'constraint', conrelid::regclass::text, conname, null, pg_get_constraintdef(oid)
from pg_constraint where connamespace::regnamespace::text like 'orders%' and contype <> 'n'
union all
select 'index', indrelid::regclass::text, indexrelid::regclass::text, indisvalid::text,
    pg_get_indexdef(indexrelid)
from pg_index where indexrelid in (select oid from ours)
union all
select 'attached', inhparent::regclass::text, inhrelid::regclass::text, null, null
from pg_inherits where inhparent in (select oid from ours)
union all
select 'view', oid::regclass::text, null, null, pg_get_viewdef(oid) from ours where relkind = 'v'
union all
select 'function', oid::regprocedure::text, prosrc, null, proacl::text
from pg_proc where pronamespace::regnamespace::text like 'orders%'
"""


def catalogue(database: Engine) -> set[tuple[Any, ...]]:
    """Return everything in our schemas, with its definition, comment and rights."""
    with database.connect() as connection:
        return {tuple(row) for row in connection.execute(text(_CATALOGUE))}

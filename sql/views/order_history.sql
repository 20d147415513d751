-- The version number is a count over order_version, not a window: so a query for one order or one
-- run date reads only their rows. A window would sort the whole history first.
create or replace view orders.order_history as
select
    n.version_number,
    not exists (
        select from orders_store.order_superseded s
        where s.order_id = f.order_id and s.run_date = f.run_date
    ) as is_current,
    f.*
from orders.fact_order f
cross join lateral (
    select count(*) as version_number
    from orders_store.order_version v
    join orders_store.published p on p.load_id = v.load_id
    where v.order_id = f.order_id
      and (coalesce(v.version_at, '-infinity'), v.run_date)
          <= (coalesce(f.updated_at, f.created_at, '-infinity'), f.run_date)
) n;

comment on view orders.order_history is
    'Every published version of every order, one a run date; the greatest version_number of an '
    'order is the current one';
comment on column orders.order_history.version_number is
    'From 1 in the order of updated_at, else created_at, else null first; then of the run date';
comment on column orders.order_history.is_current is
    'The version that order_current and order_summary show';

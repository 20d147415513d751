-- The published pointer and order_superseded are read in one snapshot, so a reader sees all of a
-- publish or nothing of it.
create or replace view orders.order_current as
select f.*
from orders.fact_order f
where not exists (
    select from orders_store.order_superseded s
    where s.order_id = f.order_id and s.run_date = f.run_date
);

comment on view orders.order_current is
    'The current version of each order: the greatest (updated_at, else created_at; run date) that '
    'is published';

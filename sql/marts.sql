-- Keeps the marts what the events of current orders add up to: orders_store.sales_day, and
-- sales_customer. A version of an order counts while its load is published and it is not superseded,
-- so the rows of these two tables tell all: triggers on both add what begins to count and take away
-- what ceases to, in the transaction that changes them, whichever version of the code does. They run
-- with the rights of the owner, and under the lock on publishing, which all who change these two
-- tables hold.
--
-- Names in braces are lists of columns of contract/mart_tables.py, and constants.

-- Adds up the sales of a load that is complete, in one pass over its events: before its publish takes
-- the lock. Plans are made for this load alone, so that they read and lock its partition alone. Of
-- rows that were just written the planner knows no numbers: see load/planner.py.
create or replace function orders_store.count_load(load bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}'
set plan_cache_mode = force_custom_plan
set enable_nestloop = off set enable_sort = off as $$
declare
    date_of_load date;
begin
    perform pg_advisory_xact_lock({count_lock}, (load % 2147483647)::int);
    if exists (select from orders_store.load_sales_day l where l.load_id = load) then
        return;
    end if;
    select r.run_date into date_of_load from orders_ops.load_run r where r.load_id = load;
    with event as materialized (
        select {event_columns}
        from (
{load_events}
        ) of_load
    ), days as (
        insert into orders_store.load_sales_day (load_id, {day_key}, {day_figures})
        select load, {day_key}, {day_sums} from event group by {day_key}
    )
    insert into orders_store.load_sales_customer
        (load_id, {customer_key}, {customer_bounds}, {customer_figures})
    select load, {customer_key}, {customer_bounds_of_events}, {customer_sums}
    from event
    where customer_id is not null
    group by {customer_key};
end
$$;

-- Looks up the first and last orders of customers of whom an order went away, by the loads that know
-- the customer: a customer may be in any partition. What is said of orders here is what
-- version_sale says of them.
create or replace function orders_store.find_customer_bounds(customers bigint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if cardinality(customers) = 0 then
        return;
    end if;
    update orders_store.sales_customer c
    set ({customer_bounds}) = row({customer_bounds_of_found})
    from (
        select o.customer_id, o.currency, {customer_named_bounds_of_events}
        from (
            select distinct d.customer_id, d.load_id
            from unnest(customers) u (customer_id)
            join orders_store.dim_customer d on d.customer_id = u.customer_id
        ) l
        join orders_store.published p on p.load_id = l.load_id
        join orders_store.fact_order o
            on o.run_date = p.run_date and o.load_id = p.load_id and o.customer_id = l.customer_id
        cross join lateral (
            select
                o.processed_local_date as order_local_date,
                coalesce(o.processed_at, o.created_at) as order_at
        ) made
        where o.test is not true and not exists (
            select from orders_store.order_superseded s
            where s.order_id = o.order_id and s.run_date = o.run_date
        )
        group by o.customer_id, o.currency
    ) found
    where c.customer_id = found.customer_id and c.currency is not distinct from found.currency
        and ({customer_bounds_of_c}) is distinct from ({customer_bounds_of_found});
end
$$;

-- Adds single versions of orders that begin to count (sign 1), or takes away ones that cease to (-1).
-- Run date by run date, so that plans read and lock the partition of each alone.
create or replace function orders_store.add_versions(
    versions orders_store.order_version[], sign int
) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}'
set plan_cache_mode = force_custom_plan as $$
declare
    date_of_versions date;
    customers bigint[] := '{{}}';
begin
    for date_of_versions in select distinct o.run_date from unnest(versions) o loop
        with event as materialized (
            select {event_columns}
            from (
                select v.*
                from unnest(versions) o
                join orders_store.version_sale v
                    on v.order_id = o.order_id and v.load_id = o.load_id
                where o.run_date = date_of_versions and v.run_date = date_of_versions
            ) of_versions
        ), days as (
            insert into orders_store.sales_day as mart ({day_key}, {day_figures})
            select {day_key}, {day_signed_sums} from event group by {day_key}
            on conflict ({day_key}) do update set {day_added}
        )
        insert into orders_store.sales_customer as mart
            ({customer_key}, {customer_bounds}, {customer_figures})
        select {customer_key}, {customer_bounds_of_events}, {customer_signed_sums}
        from event
        where customer_id is not null
        group by {customer_key}
        on conflict ({customer_key}) do update set {customer_widened}, {customer_added};
        customers := customers || array(
            select distinct f.customer_id
            from unnest(versions) o
            join orders_store.fact_order f on f.load_id = o.load_id and f.order_id = o.order_id
            where o.run_date = date_of_versions and f.run_date = date_of_versions
                and f.customer_id is not null
        );
    end loop;
    perform orders_store.find_customer_bounds(customers);
end
$$;

create or replace function orders_store.superseded_of(load bigint)
returns orders_store.order_version[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select array(
        select v
        from orders_store.order_version v
        join orders_store.order_superseded s
            on s.order_id = v.order_id and s.run_date = v.run_date
        where v.load_id = load
    )
$$;

-- Takes away a load that ceases to count, and adds the one that begins to: all orders of both but
-- those that are superseded. Rows that both loads have in common are not written.
create or replace function orders_store.replace_load(old_load bigint, new_load bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' as $$
begin
    perform orders_store.count_load(l.load_id)
    from unnest(array[old_load, new_load]) l (load_id)
    where l.load_id is not null;
    insert into orders_store.sales_day as mart ({day_key}, {day_figures})
    select {day_key}, {day_sums_of_sides}
    from {day_sides}
    group by {day_key}
    having {day_differs}
    on conflict ({day_key}) do update set {day_added};
    insert into orders_store.sales_customer as mart
        ({customer_key}, {customer_bounds}, {customer_figures})
    select {customer_key}, {customer_bounds_of_new}, {customer_sums_of_sides}
    from {customer_sides}
    group by {customer_key}
    having {customer_differs}
    on conflict ({customer_key}) do update set {customer_widened}, {customer_added};
    perform orders_store.add_versions(orders_store.superseded_of(old_load), 1);
    perform orders_store.add_versions(orders_store.superseded_of(new_load), -1);
    -- One pass over both loads: as a join, of which the planner knows no numbers of rows, it took 50 s.
    perform orders_store.find_customer_bounds(array(
        select customer_id
        from {customer_sides}
        group by {customer_key}
        having count(*) filter (where sign = -1) > 0 and ({customer_bounds_differ})
    ));
end
$$;

create or replace function orders_store.published_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform orders_store.replace_load(old.load_id, new.load_id);
    return null;
end
$$;

create or replace trigger marts after insert or update or delete on orders_store.published
for each row execute function orders_store.published_changed();

-- Versions of published loads that begin to be superseded, or cease to be.
create or replace function orders_store.superseded_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform orders_store.add_versions(
        array(
            select v
            from changed c
            join orders_store.published p on p.run_date = c.run_date
            join orders_store.order_version v
                on v.order_id = c.order_id and v.run_date = c.run_date and v.load_id = p.load_id
        ),
        case tg_op when 'DELETE' then 1 else -1 end
    );
    return null;
end
$$;

create or replace trigger marts_insert after insert on orders_store.order_superseded
referencing new table as changed
for each statement execute function orders_store.superseded_changed();

create or replace trigger marts_delete after delete on orders_store.order_superseded
referencing old table as changed
for each statement execute function orders_store.superseded_changed();

-- Adds up the sales of all published loads, and takes away the versions that are superseded.
create or replace function orders_store.rebuild_marts() returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' as $$
begin
    perform pg_advisory_xact_lock({publish_lock}, 0);
    perform orders_store.count_load(p.load_id) from orders_store.published p;
    delete from orders_store.sales_day;
    delete from orders_store.sales_customer;
    insert into orders_store.sales_day ({day_key}, {day_figures})
    select {day_key}, {day_total}
    from orders_store.load_sales_day l
    where exists (select from orders_store.published p where p.load_id = l.load_id)
    group by {day_key};
    insert into orders_store.sales_customer ({customer_key}, {customer_bounds}, {customer_figures})
    select {customer_key}, {customer_bounds_of_loads}, {customer_total}
    from orders_store.load_sales_customer l
    where exists (select from orders_store.published p where p.load_id = l.load_id)
    group by {customer_key};
    perform orders_store.add_versions(orders_store.superseded_of(p.load_id), -1)
    from orders_store.published p;
end
$$;

revoke all on function
    orders_store.count_load(bigint),
    orders_store.find_customer_bounds(bigint[]),
    orders_store.add_versions(orders_store.order_version[], int),
    orders_store.replace_load(bigint, bigint),
    orders_store.superseded_of(bigint),
    orders_store.published_changed(),
    orders_store.superseded_changed(),
    orders_store.rebuild_marts()
from public;

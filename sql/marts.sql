-- Keeps orders_store.sales_day and sales_customer what the events of current orders add up to. What a
-- load adds to them, its parts load (transform/mart_sums.py). A version of an order counts while its
-- load is in orders_store.published and it is not in order_superseded, so the rows of these two tables
-- tell all: triggers on both add what begins to count and take away what ceases to, in the transaction
-- that changes them, whichever version of the code does. They run with the rights of the owner, and
-- under the lock on publishing, which all who change these two tables hold.
--
-- Names in braces are lists of columns of contract/mart_tables.py, the queries of load/sale_events.py,
-- and constants.

-- The events of a load (orders null), or of many orders of it: its tables are read as a whole. Plans are
-- made for this load alone, so that they read and lock its partition alone. Of rows that were just
-- written the planner knows no numbers: see load/planner.py.
create or replace function orders_store.load_events(load bigint, date_of_load date, orders bigint[])
returns setof orders_store.version_sale
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan set enable_nestloop = off as $$
begin
    return query
{load_events};
end
$$;

-- The events of few orders of a load, each of which is looked up. No look-up is repeated, and with
-- "memoize" those of 50,000 orders took 27 s, not 1.8.
create or replace function orders_store.order_events(load bigint, date_of_load date, orders bigint[])
returns setof orders_store.version_sale
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_memoize = off set enable_hashjoin = off set enable_hashagg = off as $$
begin
    return query
{order_events};
end
$$;

-- The events of orders of a load. To look an order up takes twice the time that it takes to read it
-- with all others.
create or replace function orders_store.sale_events(load bigint, orders bigint[])
returns setof orders_store.version_sale
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    date_of_load date;
    order_count bigint;
begin
    select r.run_date into date_of_load from orders_ops.load_run r where r.load_id = load;
    select sum(l.order_count) into order_count
    from orders_store.load_sales_day l where l.load_id = load;
    if cardinality(orders) * 2 < order_count then
        return query select * from orders_store.order_events(load, date_of_load, orders);
    else
        return query select * from orders_store.load_events(load, date_of_load, orders);
    end if;
end
$$;

-- Adds up the sales of a load, unless that was done, or each part with orders has sums: one of test
-- orders alone has none.
create or replace function orders_store.count_load(load bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' set enable_sort = off as $$
declare
    date_of_load date;
begin
    perform pg_advisory_xact_lock({count_lock}, (load % 2147483647)::int);
    if exists (
        select from orders_store.load_sales_day l where l.load_id = load and l.part is null
    ) or (
        select bool_and(
            p.rows ->> 'order_version' is not distinct from '0' or exists (
                select from orders_store.load_sales_day l
                where l.load_id = load and l.part = p.part
            )
        )
        from orders_ops.load_part p
        where p.load_id = load
    ) then
        return;
    end if;
    delete from orders_store.load_sales_day l where l.load_id = load;
    delete from orders_store.load_sales_customer l where l.load_id = load;
    select r.run_date into date_of_load from orders_ops.load_run r where r.load_id = load;
    with event as materialized (
        select {event_columns} from orders_store.load_events(load, date_of_load, null)
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
-- the customer. What is said of orders here is what version_sale says of them. `offset 0` has them
-- looked up in the partition of the load alone: the planner would read all of history, or probe all.
create or replace function orders_store.find_customer_bounds(customers bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_memoize = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    if coalesce(cardinality(customers), 0) = 0 then
        return;
    end if;
    update orders_store.sales_customer c
    set ({customer_bounds}) = row({customer_bounds_of_found})
    from (
        select l.customer_id, o.currency, {customer_named_bounds_of_events}
        from (
            select distinct d.customer_id, d.load_id, p.run_date
            from unnest(customers) u (customer_id)
            join orders_store.dim_customer d on d.customer_id = u.customer_id
            join orders_store.published p on p.load_id = d.load_id
        ) l
        cross join lateral (
            select
                o.currency,
                o.processed_local_date as order_local_date,
                coalesce(o.processed_at, o.created_at) as order_at
            from orders_store.fact_order o
            where o.run_date = l.run_date and o.load_id = l.load_id
                and o.customer_id = l.customer_id and o.test is not true
                and not exists (
                    select from orders_store.order_superseded s
                    where s.order_id = o.order_id and s.run_date = o.run_date
                )
            offset 0
        ) o
        group by l.customer_id, o.currency
    ) found
    where c.customer_id = found.customer_id and c.currency is not distinct from found.currency
        and ({customer_bounds_of_c}) is distinct from ({customer_bounds_of_found});
end
$$;

-- Adds orders of a load that begin to count (sign 1), or takes away ones that cease to (-1), and
-- returns their customers.
create or replace function orders_store.add_orders(load bigint, orders bigint[], sign int)
returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' set enable_sort = off as $$
declare
    customers bigint[];
begin
    if orders is null then
        return '{{}}';
    end if;
    with event as materialized (
        select {event_columns} from orders_store.sale_events(load, orders)
    ), days as (
        insert into orders_store.sales_day as mart ({day_key}, {day_figures})
        select {day_key}, {day_signed_sums} from event group by {day_key}
        on conflict ({day_key}) do update set {day_added}
    ), customer as (
        insert into orders_store.sales_customer as mart
            ({customer_key}, {customer_bounds}, {customer_figures})
        select {customer_key}, {customer_bounds_of_events}, {customer_signed_sums}
        from event
        where customer_id is not null
        group by {customer_key}
        on conflict ({customer_key}) do update set {customer_widened}, {customer_added}
        returning mart.customer_id
    )
    select array_agg(customer_id) into customers from customer;
    return customers;
end
$$;

create or replace function orders_store.superseded_orders(load bigint) returns bigint[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select array_agg(v.order_id)
    from orders_store.order_version v
    join orders_store.order_superseded s on s.order_id = v.order_id and s.run_date = v.run_date
    where v.load_id = load
$$;

-- Takes away a load that ceases to count, and adds the one that begins to: all orders of both but
-- those that are superseded. Rows that both loads have in common are not written.
create or replace function orders_store.replace_load(old_load bigint, new_load bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' as $$
declare
    customers bigint[] := '{{}}';
begin
    perform orders_store.count_load(l.load_id)
    from unnest(array[old_load, new_load]) l (load_id)
    where l.load_id is not null;
    -- A load that replaces none needs no signs and no second pass: 107,000 customers took 1.8 s, not 3.0.
    if old_load is null then
        insert into orders_store.sales_day as mart ({day_key}, {day_figures})
        select {day_key}, {day_total}
        from orders_store.load_sales_day l
        where l.load_id = new_load
        group by {day_key}
        on conflict ({day_key}) do update set {day_added};
        insert into orders_store.sales_customer as mart
            ({customer_key}, {customer_bounds}, {customer_figures})
        select {customer_key}, {customer_bounds_of_loads}, {customer_total}
        from orders_store.load_sales_customer l
        where l.load_id = new_load
        group by {customer_key}
        on conflict ({customer_key}) do update set {customer_widened}, {customer_added};
    else
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
        -- One pass over both loads: as a join, of which the planner knows no numbers of rows, it
        -- took 50 s.
        customers := array(
            select customer_id
            from {customer_sides}
            group by {customer_key}
            having count(*) filter (where sign = -1) > 0 and ({customer_bounds_differ})
        );
    end if;
    perform orders_store.find_customer_bounds(
        customers
        || orders_store.add_orders(old_load, orders_store.superseded_orders(old_load), 1)
        || orders_store.add_orders(new_load, orders_store.superseded_orders(new_load), -1)
    );
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
declare
    of_load record;
    customers bigint[] := '{{}}';
begin
    for of_load in
        select p.load_id, array_agg(c.order_id) as orders
        from changed c
        join orders_store.published p on p.run_date = c.run_date
        join orders_store.order_version v
            on v.order_id = c.order_id and v.run_date = c.run_date and v.load_id = p.load_id
        group by p.load_id
    loop
        customers := customers || orders_store.add_orders(
            of_load.load_id, of_load.orders, case tg_op when 'DELETE' then 1 else -1 end);
    end loop;
    perform orders_store.find_customer_bounds(customers);
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
    perform orders_store.find_customer_bounds(
        orders_store.add_orders(p.load_id, orders_store.superseded_orders(p.load_id), -1)
    )
    from orders_store.published p;
end
$$;

revoke all on function
    orders_store.load_events(bigint, date, bigint[]),
    orders_store.order_events(bigint, date, bigint[]),
    orders_store.sale_events(bigint, bigint[]),
    orders_store.count_load(bigint),
    orders_store.find_customer_bounds(bigint[]),
    orders_store.add_orders(bigint, bigint[], int),
    orders_store.replace_load(bigint, bigint),
    orders_store.superseded_orders(bigint),
    orders_store.published_changed(),
    orders_store.superseded_changed(),
    orders_store.rebuild_marts()
from public;

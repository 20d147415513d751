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

-- The events of orders of loads, given by three arrays of the same length, each of which is looked up.
-- No look-up is repeated, and with "memoize" those of 50,000 orders took 27 s, not 1.8.
create or replace function orders_store.events_of_orders(loads bigint[], dates date[], orders bigint[])
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

-- The same, where the load is read as a whole if it is one, and at least half of its orders are asked
-- for: to look an order up takes twice the time that it takes to read it with all others.
create or replace function orders_store.sale_events(loads bigint[], dates date[], orders bigint[])
returns setof orders_store.version_sale
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if loads[1] = all(loads) and cardinality(orders) * 2 >= (
        select sum(l.order_count) from orders_store.load_sales_day l where l.load_id = loads[1]
    ) then
        return query select * from orders_store.load_events(loads[1], dates[1], orders);
    else
        return query select * from orders_store.events_of_orders(loads, dates, orders);
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

-- Adds orders of loads that begin to count (sign 1), or takes away ones that cease to (-1), and returns
-- their customers. Three arrays of the same length name the orders.
create or replace function orders_store.add_orders(
    loads bigint[], dates date[], orders bigint[], sign int
) returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' set enable_sort = off as $$
declare
    customers bigint[];
begin
    if coalesce(cardinality(orders), 0) = 0 then
        return '{{}}';
    end if;
    with event as materialized (
        select {event_columns} from orders_store.sale_events(loads, dates, orders)
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

-- Adds all orders of loads that are superseded, or takes them away, and returns their customers.
create or replace function orders_store.add_superseded_orders(loads bigint[], sign int)
returns bigint[]
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select orders_store.add_orders(
        array_agg(v.load_id), array_agg(v.run_date), array_agg(v.order_id), sign
    )
    from orders_store.order_version v
    join orders_store.order_superseded s on s.order_id = v.order_id and s.run_date = v.run_date
    where v.load_id = any(loads)
$$;

-- Adds loads of run dates of which none was published: all orders of theirs but those that are
-- superseded. They need no signs and no second pass: 107,000 customers took 1.8 s, not 3.0.
create or replace function orders_store.add_loads(loads bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set work_mem = '{work_mem}' as $$
begin
    perform orders_store.count_load(l.load_id) from unnest(loads) l (load_id);
    insert into orders_store.sales_day as mart ({day_key}, {day_figures})
    select {day_key}, {day_total}
    from orders_store.load_sales_day l
    where l.load_id = any(loads)
    group by {day_key}
    on conflict ({day_key}) do update set {day_added};
    insert into orders_store.sales_customer as mart
        ({customer_key}, {customer_bounds}, {customer_figures})
    select {customer_key}, {customer_bounds_of_loads}, {customer_total}
    from orders_store.load_sales_customer l
    where l.load_id = any(loads)
    group by {customer_key}
    on conflict ({customer_key}) do update set {customer_widened}, {customer_added};
    perform orders_store.find_customer_bounds(orders_store.add_superseded_orders(loads, -1));
end
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
    -- One pass over both loads: as a join, of which the planner knows no numbers of rows, it took 50 s.
    customers := array(
        select customer_id
        from {customer_sides}
        group by {customer_key}
        having count(*) filter (where sign = -1) > 0 and ({customer_bounds_differ})
    );
    perform orders_store.find_customer_bounds(
        customers
        || orders_store.add_superseded_orders(array[old_load], 1)
        || orders_store.add_superseded_orders(array[new_load], -1)
    );
end
$$;

create or replace function orders_store.published_inserted() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from changed) then
        perform orders_store.add_loads(array(select c.load_id from changed c));
    end if;
    return null;
end
$$;

create or replace function orders_store.published_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform orders_store.replace_load(old.load_id, new.load_id);
    return null;
end
$$;

create or replace trigger marts_published after insert on orders_store.published
referencing new table as changed
for each statement execute function orders_store.published_inserted();

create or replace trigger marts after update or delete on orders_store.published
for each row execute function orders_store.published_changed();

-- The customers of versions that ceased to count, but those whose current version of the same order was
-- made by the same customer at the same time: their first and last orders stay. Most edits are such, and
-- to look up 300 customers of 60 run dates took 0.25 s.
create or replace function orders_store.customers_without(dates date[], orders bigint[])
returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_memoize = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
    return array(
        select distinct o.customer_id
        from unnest(dates, orders) u (run_date, order_id)
        join orders_store.published p on p.run_date = u.run_date
        cross join lateral (
            select o.* from orders_store.fact_order o
            where o.run_date = u.run_date and o.load_id = p.load_id and o.order_id = u.order_id
                and o.run_date = any(dates)
            offset 0
        ) o
        -- Counted, so that it is looked up for each: as an anti-join all versions were read.
        where o.customer_id is not null and o.test is not true and 0 = (
            select count(*)
            from orders_store.order_version v
            join orders_store.published p on p.load_id = v.load_id
            cross join lateral (
                select n.* from orders_store.fact_order n
                where n.run_date = v.run_date and n.load_id = v.load_id and n.order_id = v.order_id
                offset 0
            ) n
            where v.order_id = o.order_id
                and not exists (
                    select from orders_store.order_superseded s
                    where s.order_id = v.order_id and s.run_date = v.run_date
                )
                and n.customer_id = o.customer_id
                and n.test is not true
                and n.currency is not distinct from o.currency
                and n.processed_local_date is not distinct from o.processed_local_date
                and coalesce(n.processed_at, n.created_at)
                    is not distinct from coalesce(o.processed_at, o.created_at)
        )
    );
end
$$;

-- Versions of published loads that begin to be superseded, or cease to be. A load of which most do is
-- read by itself. What begins to count only widens what a customer's orders span.
create or replace function orders_store.superseded_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    together record;
begin
    for together in
        select
            array_agg(v.load_id) as loads,
            array_agg(v.run_date) as dates,
            array_agg(v.order_id) as orders
        from (
            select v.load_id, v.run_date, v.order_id, count(*) over (partition by v.load_id) * 2 >= (
                select sum(l.order_count) from orders_store.load_sales_day l
                where l.load_id = v.load_id
            ) as are_most
            from changed c
            join orders_store.published p on p.run_date = c.run_date
            join orders_store.order_version v
                on v.order_id = c.order_id and v.run_date = c.run_date and v.load_id = p.load_id
        ) v
        group by case when v.are_most then v.load_id end
    loop
        perform orders_store.add_orders(
            together.loads, together.dates, together.orders, case tg_op when 'DELETE' then 1 else -1 end);
        if tg_op = 'INSERT' then
            perform orders_store.find_customer_bounds(
                orders_store.customers_without(together.dates, together.orders));
        end if;
    end loop;
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
        orders_store.add_superseded_orders(array[p.load_id], -1)
    )
    from orders_store.published p;
end
$$;

revoke all on function
    orders_store.load_events(bigint, date, bigint[]),
    orders_store.events_of_orders(bigint[], date[], bigint[]),
    orders_store.sale_events(bigint[], date[], bigint[]),
    orders_store.count_load(bigint),
    orders_store.find_customer_bounds(bigint[]),
    orders_store.add_orders(bigint[], date[], bigint[], int),
    orders_store.add_superseded_orders(bigint[], int),
    orders_store.add_loads(bigint[]),
    orders_store.replace_load(bigint, bigint),
    orders_store.customers_without(date[], bigint[]),
    orders_store.published_inserted(),
    orders_store.published_changed(),
    orders_store.superseded_changed(),
    orders_store.rebuild_marts()
from public;

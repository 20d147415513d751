-- Two roles without login, of which logins become members. orders_loader runs every command except
-- `init`, and except dropping partitions, which only the owner of the tables may do. orders_reader
-- reads schema orders. The roles have the rights that are listed here and no others.
--
-- The owner of the tables runs this whole file after `orders-dask init`: with `orders-dask init
-- --roles`, or with `psql --single-transaction --file roles.sql`. It is idempotent and revokes
-- nothing.
do $$
declare
    wanted name;
begin
    foreach wanted in array array['orders_loader', 'orders_reader'] loop
        if not exists (select from pg_catalog.pg_roles r where r.rolname = wanted) then
            begin
                execute format('create role %I nologin', wanted);
            exception
                -- Roles belong to the server: an `init` of another database made it just now.
                when duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;
end
$$;

-- The loader.

grant usage on schema orders_store, orders_ops, orders to orders_loader;

-- Rows of a load are inserted once and pruned as a whole. Partitions need no grants, because rows
-- are written through their parents: the facts.
--
-- ANALYZE of the parents: before PostgreSQL 17 only the owner may run it, and before 18 the loader
-- leaves it out.
do $$
declare
    fact regclass;
begin
    for fact in
        select c.oid from pg_catalog.pg_class c
        where c.relnamespace = 'orders_store'::regnamespace and c.relkind = 'p'
    loop
        execute format('grant select, insert, delete on %s to orders_loader', fact);
        if current_setting('server_version_num')::int >= 170000 then
            execute format('grant maintain on %s to orders_loader', fact);
        end if;
    end loop;
end
$$;

grant select on
    orders_store.sales_day,
    orders_store.sales_customer,
    orders_store.version_sale
to orders_loader;
grant select, insert, delete on
    orders_store.load_sales_day,
    orders_store.load_sales_customer
to orders_loader;

grant select, insert, delete on
    orders_store.order_version,
    orders_store.dim_customer,
    orders_store.dim_user,
    orders_store.dim_location,
    orders_store.dim_device,
    orders_store.dim_app,
    orders_store.dim_product_variant
to orders_loader;

grant execute on function orders_store.make_partition(date) to orders_loader;

grant execute on function
    orders_store.count_load(bigint),
    orders_store.rebuild_marts()
to orders_loader;

-- Publish, rollback and unpublish.
grant select, insert, update, delete on orders_store.published to orders_loader;
grant select, insert, delete on orders_store.order_superseded to orders_loader;
grant select, insert, update on
    orders_store.dim_user_names,
    orders_store.dim_location_names,
    orders_store.dim_app_names
to orders_loader;
grant select, insert, update, delete on
    orders.dim_customer,
    orders.dim_user,
    orders.dim_location,
    orders.dim_device,
    orders.dim_app,
    orders.dim_product_variant
to orders_loader;

-- The ledger: a load's identity, files and rejected records can't be changed once they are written.
-- Only columns about how the load goes on can.
grant select on orders_ops.schema_info to orders_loader;
grant select, insert, update (wait_for, draining) on orders_ops.storage_partition to orders_loader;
grant select, insert, update (
    status, finished_at, published_at, replaced_load_id, can_roll_back, unpublished_at, pruned_at,
    message, step_seconds, step_metrics, schema_drift, left_out, measures, reviewed_at, reviewed_by,
    review_note
) on orders_ops.load_run to orders_loader;
grant select, insert, update on orders_ops.load_file to orders_loader;
grant select, insert, update (rows, seconds), delete on orders_ops.load_part to orders_loader;
grant select, insert, update (
    message, raw, order_raw, corrected_raw, replay_load_id, replay_result
) on orders_ops.rejected_record to orders_loader;
grant select, insert, update (samples) on orders_ops.data_issue to orders_loader;
grant select, insert on orders_ops.check_finding to orders_loader;
grant select, insert, update (sent_at, recovered_at) on orders_ops.alert to orders_loader;

-- Checks of one's own compare a load with what is published.
grant select on all tables in schema orders to orders_loader;

-- The reader. Views run with their owner's rights, so storage and ledger need no grants. Tables and
-- views that the owner adds to the schema later are readable too.

grant usage on schema orders to orders_reader;
grant select on all tables in schema orders to orders_reader;
alter default privileges in schema orders grant select on tables to orders_reader;

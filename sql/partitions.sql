-- Makes and attaches the partitions of one month or day, one for each fact of the storage. It runs
-- with the rights of the user who ran `init`, because only the owner of the tables may ATTACH. So
-- it trusts no caller: the width of a partition comes from the ledger, every name is qualified or
-- quoted, and only granted roles may call it.
create or replace function orders_store.make_partition(first date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    width constant text := (select i.partition_width from orders_ops.schema_info i);
    end_date date := first + ('1 ' || width)::interval;
    suffix constant text :=
        to_char(first, case width when 'day' then 'YYYY_MM_DD' else 'YYYY_MM' end);
    fact name;
begin
    if first is null or first not between '0001-01-01' and '9999-12-31'
       or first <> date_trunc(width, first::timestamp)::date then
        raise exception 'no % of run dates begins on %', width, first
            using errcode = 'invalid_parameter_value';
    end if;
    if end_date > '9999-12-31' then
        end_date := 'infinity';
    end if;
    for fact in
        select c.relname from pg_class c
        where c.relnamespace = 'orders_store'::regnamespace and c.relkind = 'p'
        -- ANALYZE in publish.py locks the parents in the same order: else both could deadlock.
        order by c.relname
    loop
        -- A partition that somebody made by hand is kept.
        continue when to_regclass(format('orders_store.%I', fact || '_' || suffix)) is not null;
        execute format(
            'create table orders_store.%I (like orders_store.%I including all)',
            fact || '_' || suffix, fact);
        execute format(
            'alter table orders_store.%I attach partition orders_store.%I '
            'for values from (%L) to (%L)',
            fact, fact || '_' || suffix, first, end_date);
    end loop;
end
$$;

revoke all on function orders_store.make_partition(date) from public;

comment on function orders_store.make_partition(date) is
    'Makes and attaches the partitions that begin on a run date, in every fact of the storage';

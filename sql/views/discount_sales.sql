create or replace view orders.discount_sales as
select
    c.code,
    o.currency,
    count(*) as order_count,
    sum(o.gross_sales) as gross_sales,
    sum(o.discounts) as discounts,
    sum(o.returns) as returns,
    sum(o.net_sales) as net_sales,
    min(o.order_local_date) as first_order_date,
    max(o.order_local_date) as last_order_date,
    count(*) filter (where o.net_sales is null) as unknown_order_count
from orders.order_summary o
join orders.order_current f on f.run_date = o.run_date and f.order_id = o.order_id
cross join lateral (
    select distinct unnest(string_to_array(nullif(f.discount_codes, ''), ', ')) as code
) c
where not o.is_test
group by c.code, o.currency;

comment on view orders.discount_sales is
    'Orders with each discount code, and currency. An order with two codes is in both rows: '
    'rows don''t add up to all sales';
comment on column orders.discount_sales.code is 'The discount code';
comment on column orders.discount_sales.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.discount_sales.order_count is 'Orders with the code';
comment on column orders.discount_sales.gross_sales is
    'Their sales before discounts, without taxes';
comment on column orders.discount_sales.discounts is
    'All their discounts, also those of other codes';
comment on column orders.discount_sales.returns is 'What was taken back of them';
comment on column orders.discount_sales.net_sales is 'gross_sales less discounts and returns';
comment on column orders.discount_sales.first_order_date is
    'The shop''s day on which the first of them was placed';
comment on column orders.discount_sales.last_order_date is
    'The shop''s day on which the last of them was placed';
comment on column orders.discount_sales.unknown_order_count is
    'Those of which an amount is unknown, which net_sales leaves out';

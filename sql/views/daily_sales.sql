create or replace view orders.daily_sales as
select
    created_local_date,
    currency,
    count(*) as order_count,
    count(*) filter (where is_cancelled) as cancelled_order_count,
    sum(line_count)::bigint as line_count,
    sum(unit_count)::bigint as unit_count,
    sum(gross_amount) as gross_amount,
    sum(refunded_amount) as refunded_amount,
    sum(net_amount) as net_amount,
    count(*) filter (where net_amount is null) as unknown_net_count
from orders.order_summary
where not is_test
group by created_local_date, currency;

comment on view orders.daily_sales is
    'Current orders by the shop''s day and currency. Test orders are left out; cancelled ones are '
    'in every figure';
comment on column orders.daily_sales.created_local_date is
    'The shop''s day on which the orders were made; null where it is unknown';
comment on column orders.daily_sales.currency is
    'ISO 4217 code of the row''s amounts; null where orders name none';
comment on column orders.daily_sales.order_count is 'Orders, cancelled ones included';
comment on column orders.daily_sales.cancelled_order_count is 'Cancelled orders among them';
comment on column orders.daily_sales.line_count is 'Lines of these orders';
comment on column orders.daily_sales.unit_count is
    'Units of these orders; those whose units are unknown are left out';
comment on column orders.daily_sales.gross_amount is
    'Sum of total_price, before refunds; unknown ones are left out, null where none is known';
comment on column orders.daily_sales.refunded_amount is
    'Sum of what was refunded of these orders, on whatever day; unknown ones are left out';
comment on column orders.daily_sales.net_amount is
    'Sum of total_price less refunds over the orders where both are known';
comment on column orders.daily_sales.unknown_net_count is
    'Orders whose net amount is unknown: where this is not 0, net_amount need not be gross less '
    'refunded';

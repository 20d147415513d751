create or replace view orders.daily_sales as
select
    d.order_local_date,
    d.currency,
    d.order_count,
    d.gross_sales,
    d.discounts,
    d.returns,
    d.net_sales,
    d.shipping,
    d.taxes,
    d.total_sales,
    d.gift_card_sales,
    d.gift_card_returns,
    d.units_sold,
    d.units_returned,
    round((d.gross_sales - d.discounts) / d.order_count, 2) as average_order_value,
    d.cancelled_order_count,
    d.unknown_order_count
from (
    select
        order_local_date,
        currency,
        count(*) as order_count,
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts,
        sum(returns) as returns,
        sum(net_sales) as net_sales,
        sum(shipping) as shipping,
        sum(taxes) as taxes,
        sum(total_sales) as total_sales,
        sum(gift_card_sales) as gift_card_sales,
        sum(gift_card_returns) as gift_card_returns,
        coalesce(sum(units_sold), 0)::bigint as units_sold,
        coalesce(sum(units_returned), 0)::bigint as units_returned,
        count(*) filter (where is_cancelled) as cancelled_order_count,
        count(*) filter (where total_sales is null) as unknown_order_count
    from orders.order_summary
    where not is_test
    group by order_local_date, currency
) d;

comment on view orders.daily_sales is
    'Current orders by the shop''s day on which they were placed, and currency: what became of them, on '
    'whatever day. sales_by_day has what happened on a day. Test orders are left out. See docs/sales.md';
comment on column orders.daily_sales.order_local_date is
    'The shop''s day on which the orders were placed; null where it is unknown';
comment on column orders.daily_sales.currency is
    'ISO 4217 code of the row''s amounts; null where orders name none';
comment on column orders.daily_sales.order_count is 'Orders, cancelled ones included';
comment on column orders.daily_sales.gross_sales is
    'Sales before discounts, without taxes, gift cards and tips; unknown ones are left out of'
    ' all figures';
comment on column orders.daily_sales.discounts is
    'Discounts on these sales, those of the whole order included';
comment on column orders.daily_sales.returns is
    'What was taken back of these sales: refunds less adjustments, edits, cancelled unpaid '
    'orders';
comment on column orders.daily_sales.net_sales is 'gross_sales less discounts and returns';
comment on column orders.daily_sales.shipping is
    'Shipping after discounts and refunds, without taxes';
comment on column orders.daily_sales.taxes is 'Taxes, less those of refunds';
comment on column orders.daily_sales.total_sales is 'net_sales, shipping, taxes, duties and fees';
comment on column orders.daily_sales.gift_card_sales is 'Gift cards sold, which are no sales';
comment on column orders.daily_sales.gift_card_returns is 'Gift cards refunded';
comment on column orders.daily_sales.units_sold is 'Units sold, without gift cards and tips';
comment on column orders.daily_sales.units_returned is 'Units taken back';
comment on column orders.daily_sales.average_order_value is 'gross_sales less discounts, an order';
comment on column orders.daily_sales.cancelled_order_count is 'Cancelled orders among them';
comment on column orders.daily_sales.unknown_order_count is
    'Orders with a figure that is unknown: where this is not 0, figures need not add up';

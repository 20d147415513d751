create or replace view orders.sales_by_day as
select
    d.event_local_date,
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
    round((d.gross_sales - d.discounts) / nullif(d.order_count, 0), 2) as average_order_value,
    d.tips,
    d.duties,
    d.fees,
    d.unknown_gross_sales,
    d.unknown_discounts,
    d.unknown_returns,
    d.unknown_shipping,
    d.unknown_taxes,
    d.unknown_total_sales
from (
    -- An order has one channel, so its count adds up as the amounts do.
    select
        event_local_date,
        currency,
        sum(order_count)::bigint as order_count,
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts,
        sum(returns) as returns,
        sum(net_sales) as net_sales,
        sum(shipping) as shipping,
        sum(taxes) as taxes,
        sum(total_sales) as total_sales,
        sum(gift_card_sales) as gift_card_sales,
        sum(gift_card_returns) as gift_card_returns,
        sum(units_sold)::bigint as units_sold,
        sum(units_returned)::bigint as units_returned,
        sum(tips) as tips,
        sum(duties) as duties,
        sum(fees) as fees,
        sum(unknown_gross_sales)::bigint as unknown_gross_sales,
        sum(unknown_discounts)::bigint as unknown_discounts,
        sum(unknown_returns)::bigint as unknown_returns,
        sum(unknown_shipping)::bigint as unknown_shipping,
        sum(unknown_taxes)::bigint as unknown_taxes,
        sum(unknown_total_sales)::bigint as unknown_total_sales
    from orders.sales_by_day_and_channel
    group by event_local_date, currency
) d;

comment on view orders.sales_by_day is
    'Sales and reversals by the day on which they happened, and currency: the figures of '
    'Shopify''s sales reports. A refund counts on its own day, not on that of its order. '
    'See docs/sales.md';
comment on column orders.sales_by_day.event_local_date is
    'The shop''s day on which it happened; null where it is unknown';
comment on column orders.sales_by_day.currency is
    'ISO 4217 code of the row''s amounts; null where orders name none';
comment on column orders.sales_by_day.order_count is 'Orders placed on the day';
comment on column orders.sales_by_day.gross_sales is
    'Sales before discounts, without taxes, gift cards and tips; unknown ones are left out of'
    ' all figures';
comment on column orders.sales_by_day.discounts is
    'Discounts on these sales, those of the whole order included';
comment on column orders.sales_by_day.returns is
    'What was taken back of sales: refunds less adjustments, edits, cancelled unpaid orders';
comment on column orders.sales_by_day.net_sales is 'gross_sales less discounts and returns';
comment on column orders.sales_by_day.shipping is
    'Shipping after discounts and refunds, without taxes';
comment on column orders.sales_by_day.taxes is 'Taxes, less those of refunds';
comment on column orders.sales_by_day.total_sales is 'net_sales, shipping, taxes, duties and fees';
comment on column orders.sales_by_day.gift_card_sales is 'Gift cards sold, which are no sales';
comment on column orders.sales_by_day.gift_card_returns is 'Gift cards refunded';
comment on column orders.sales_by_day.units_sold is 'Units sold, without gift cards and tips';
comment on column orders.sales_by_day.units_returned is 'Units taken back';
comment on column orders.sales_by_day.average_order_value is 'gross_sales less discounts, an order';
comment on column orders.sales_by_day.tips is 'Tips, less those that were refunded';
comment on column orders.sales_by_day.duties is 'Duties of the orders placed on the day';
comment on column orders.sales_by_day.fees is 'Additional fees';
comment on column orders.sales_by_day.unknown_gross_sales is
    'Events whose gross_sales is unknown, so left out';
comment on column orders.sales_by_day.unknown_discounts is
    'Events whose discounts is unknown, so left out';
comment on column orders.sales_by_day.unknown_returns is
    'Events whose returns is unknown, so left out';
comment on column orders.sales_by_day.unknown_shipping is
    'Events whose shipping is unknown, so left out';
comment on column orders.sales_by_day.unknown_taxes is 'Events whose taxes is unknown, so left out';
comment on column orders.sales_by_day.unknown_total_sales is
    'Events whose total_sales is unknown, so left out';

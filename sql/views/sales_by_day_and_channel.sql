-- Sums that every publish changes (sql/marts.sql). A row whose events all went away stays, with 0.
create or replace view orders.sales_by_day_and_channel as
select
    event_local_date,
    currency,
    source_name, location_id, user_id, device_id,
    order_count,
    gross_sales,
    discounts,
    returns,
    net_sales,
    shipping,
    taxes,
    total_sales,
    gift_card_sales,
    gift_card_returns,
    units_sold,
    units_returned,
    tips,
    duties,
    fees,
    unknown_gross_sales,
    unknown_discounts,
    unknown_returns,
    unknown_shipping,
    unknown_taxes,
    unknown_total_sales
from orders_store.sales_day
where event_count > 0;

comment on view orders.sales_by_day_and_channel is
    'sales_by_day, one row a channel, location, member of staff and till';
comment on column orders.sales_by_day_and_channel.event_local_date is
    'The shop''s day on which it happened; null where it is unknown';
comment on column orders.sales_by_day_and_channel.currency is
    'ISO 4217 code of the row''s amounts; null where orders name none';
comment on column orders.sales_by_day_and_channel.source_name is
    'The order''s channel: web, pos, ...';
comment on column orders.sales_by_day_and_channel.location_id is
    'Where the order was taken (dim_location)';
comment on column orders.sales_by_day_and_channel.user_id is
    'The member of staff who took the order (dim_user)';
comment on column orders.sales_by_day_and_channel.device_id is
    'The till that took the order (dim_device)';
comment on column orders.sales_by_day_and_channel.order_count is 'Orders placed on the day';
comment on column orders.sales_by_day_and_channel.gross_sales is
    'Sales before discounts, without taxes, gift cards and tips; unknown ones are left out of'
    ' all figures';
comment on column orders.sales_by_day_and_channel.discounts is
    'Discounts on these sales, those of the whole order included';
comment on column orders.sales_by_day_and_channel.returns is
    'What was taken back of sales: refunds less adjustments, edits, cancelled unpaid orders';
comment on column orders.sales_by_day_and_channel.net_sales is
    'gross_sales less discounts and returns';
comment on column orders.sales_by_day_and_channel.shipping is
    'Shipping after discounts and refunds, without taxes';
comment on column orders.sales_by_day_and_channel.taxes is 'Taxes, less those of refunds';
comment on column orders.sales_by_day_and_channel.total_sales is
    'net_sales, shipping, taxes, duties and fees';
comment on column orders.sales_by_day_and_channel.gift_card_sales is
    'Gift cards sold, which are no sales';
comment on column orders.sales_by_day_and_channel.gift_card_returns is 'Gift cards refunded';
comment on column orders.sales_by_day_and_channel.units_sold is
    'Units sold, without gift cards and tips';
comment on column orders.sales_by_day_and_channel.units_returned is 'Units taken back';
comment on column orders.sales_by_day_and_channel.tips is 'Tips, less those that were refunded';
comment on column orders.sales_by_day_and_channel.duties is 'Duties of the orders placed on the day';
comment on column orders.sales_by_day_and_channel.fees is 'Additional fees';
comment on column orders.sales_by_day_and_channel.unknown_gross_sales is
    'Events whose gross_sales is unknown, so left out';
comment on column orders.sales_by_day_and_channel.unknown_discounts is
    'Events whose discounts is unknown, so left out';
comment on column orders.sales_by_day_and_channel.unknown_returns is
    'Events whose returns is unknown, so left out';
comment on column orders.sales_by_day_and_channel.unknown_shipping is
    'Events whose shipping is unknown, so left out';
comment on column orders.sales_by_day_and_channel.unknown_taxes is
    'Events whose taxes is unknown, so left out';
comment on column orders.sales_by_day_and_channel.unknown_total_sales is
    'Events whose total_sales is unknown, so left out';

create or replace view orders.sales_by_day_and_channel as
select
    event_local_date,
    currency,
    source_name, location_id, user_id, device_id,
    count(distinct order_id) filter (where kind = 'sale') as order_count,
    sum(gross_sales) as gross_sales,
    sum(discounts) as discounts,
    sum(returns) as returns,
    sum(net_sales) as net_sales,
    sum(shipping) as shipping,
    sum(taxes) as taxes,
    sum(total_sales) as total_sales,
    sum(gift_card_sales) as gift_card_sales,
    sum(gift_card_returns) as gift_card_returns,
    coalesce(sum(quantity) filter (where kind = 'sale' and line_type = 'product'), 0)::bigint
        as units_sold,
    coalesce(-sum(quantity) filter (where kind = 'reversal' and line_type = 'product'), 0)::bigint
        as units_returned,
    sum(tips) as tips,
    sum(duties) as duties,
    sum(fees) as fees,
    count(*) filter (where gross_sales is null) as unknown_gross_sales,
    count(*) filter (where discounts is null) as unknown_discounts,
    count(*) filter (where returns is null) as unknown_returns,
    count(*) filter (where shipping is null) as unknown_shipping,
    count(*) filter (where taxes is null) as unknown_taxes,
    count(*) filter (where total_sales is null) as unknown_total_sales
from orders.sale
group by event_local_date, currency, source_name, location_id, user_id, device_id;

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
comment on column orders.sales_by_day_and_channel.duties is 'Duties';
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

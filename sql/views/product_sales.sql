create or replace view orders.product_sales as
select
    date_trunc('month', event_local_date)::date as event_month,
    product_id,
    variant_id,
    currency,
    count(distinct order_id) filter (where kind = 'sale') as order_count,
    coalesce(sum(quantity) filter (where kind = 'sale' and line_type = 'product'), 0)::bigint
        as units_sold,
    coalesce(-sum(quantity) filter (where kind = 'reversal' and line_type = 'product'), 0)::bigint
        as units_returned,
    sum(gross_sales) as gross_sales,
    sum(discounts) as discounts,
    sum(returns) as returns,
    sum(net_sales) as net_sales,
    sum(taxes) as taxes,
    count(*) filter (where net_sales is null) as unknown_net_sales
from orders.sale
where line_type = 'product'
group by event_month, product_id, variant_id, currency;

comment on view orders.product_sales is
    'Sales and reversals of each product variant by month, and currency, without gift cards and'
    ' tips, and without adjustments of refunds, which have no product';
comment on column orders.product_sales.event_month is 'First day of the month in which it happened';
comment on column orders.product_sales.product_id is
    'The product; its titles are in dim_product_variant';
comment on column orders.product_sales.variant_id is 'The product''s variant (dim_product_variant)';
comment on column orders.product_sales.currency is
    'ISO 4217 code of the row''s amounts; null where orders name none';
comment on column orders.product_sales.order_count is
    'Orders placed in the month that have the variant';
comment on column orders.product_sales.units_sold is 'Units sold, without gift cards and tips';
comment on column orders.product_sales.units_returned is 'Units taken back';
comment on column orders.product_sales.gross_sales is
    'Sales before discounts, without taxes, gift cards and tips; unknown ones are left out of'
    ' all figures';
comment on column orders.product_sales.discounts is
    'Discounts on these sales, those of the whole order included';
comment on column orders.product_sales.returns is
    'What was taken back of sales: refunds less adjustments, edits, cancelled unpaid orders';
comment on column orders.product_sales.net_sales is 'gross_sales less discounts and returns';
comment on column orders.product_sales.taxes is 'Taxes, less those of refunds';
comment on column orders.product_sales.unknown_net_sales is
    'Sales and reversals whose net sales are unknown: the figures leave them out';

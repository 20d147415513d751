create or replace view orders.order_line_summary as
select
    l.order_id,
    l.line_id,
    l.run_date,
    o.name as order_name,
    o.processed_local_date as order_local_date,
    l.product_id,
    l.variant_id,
    l.sku,
    l.title,
    l.variant_title,
    l.vendor,
    l.currency,
    s.line_type,
    l.quantity,
    s.quantity_returned,
    l.price,
    s.gross_sales,
    s.discounts,
    s.returns,
    s.gross_sales - s.discounts - s.returns as net_sales,
    s.taxes
from orders.order_current o
join orders.fact_order_line l on l.run_date = o.run_date and l.order_id = o.order_id
left join (
    select
        run_date,
        order_id,
        line_id,
        min(line_type) as line_type,
        coalesce(-sum(quantity) filter (where kind = 'reversal'), 0)::bigint as quantity_returned,
        case when bool_and(gross_sales is not null) then sum(gross_sales) end as gross_sales,
        case when bool_and(discounts is not null) then sum(discounts) end as discounts,
        case when bool_and(returns is not null) then sum(returns) end as returns,
        case when bool_and(taxes is not null) then sum(taxes) end as taxes
    from orders.sale
    group by run_date, order_id, line_id
) s on s.run_date = l.run_date and s.order_id = l.order_id and s.line_id = l.line_id
where o.test is not true;

comment on view orders.order_line_summary is
    'One row a line of a current order: what was sold and taken back of it. See docs/sales.md';
comment on column orders.order_line_summary.order_id is 'The order (order_summary)';
comment on column orders.order_line_summary.line_id is 'The line of the order (fact_order_line)';
comment on column orders.order_line_summary.run_date is
    'Date of the dump that this version is from; the day of the order is order_local_date';
comment on column orders.order_line_summary.order_name is
    'The order''s display name, such as #1001';
comment on column orders.order_line_summary.order_local_date is
    'The shop''s day on which the order was placed';
comment on column orders.order_line_summary.product_id is 'The product (dim_product_variant)';
comment on column orders.order_line_summary.variant_id is 'The product''s variant (dim_product_variant)';
comment on column orders.order_line_summary.sku is 'Its stock keeping unit';
comment on column orders.order_line_summary.title is 'The product''s title at the time';
comment on column orders.order_line_summary.variant_title is 'The variant''s title at the time';
comment on column orders.order_line_summary.vendor is 'The product''s vendor';
comment on column orders.order_line_summary.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.order_line_summary.line_type is
    'product, gift_card or tip: only a product has sales';
comment on column orders.order_line_summary.quantity is 'Units sold';
comment on column orders.order_line_summary.quantity_returned is 'Units taken back';
comment on column orders.order_line_summary.price is
    'Price of a unit, with taxes where the order''s prices include them';
comment on column orders.order_line_summary.gross_sales is
    'Sale before discounts, without taxes; null where a part is unknown';
comment on column orders.order_line_summary.discounts is
    'Discounts on it, those of the whole order included';
comment on column orders.order_line_summary.returns is 'What was taken back of it, without taxes';
comment on column orders.order_line_summary.net_sales is 'gross_sales less discounts and returns';
comment on column orders.order_line_summary.taxes is 'Taxes, less those of refunds';

-- Events are read by the whole key of the storage, by which the planner finds those of a run date or
-- an order: by the public views, each of which joins published, 30,000 events took 4.6 s, not 0.17.
create or replace view orders.sale as
select
    v.order_id,
    v.run_date,
    v.event_at,
    v.event_local_date,
    v.order_local_date,
    v.kind,
    v.line_type,
    v.line_id,
    v.refund_id,
    v.product_id,
    v.variant_id,
    v.quantity,
    v.gross_sales,
    v.discounts,
    v.returns,
    v.net_sales,
    v.shipping,
    v.taxes,
    v.total_sales,
    v.currency,
    v.source_name,
    v.location_id,
    v.user_id,
    v.device_id,
    v.gift_card_sales,
    v.gift_card_returns,
    v.tips,
    v.duties,
    v.fees
from orders_store.version_sale v
join orders_store.published p on p.load_id = v.load_id
where not exists (
    select from orders_store.order_superseded s
    where s.order_id = v.order_id and s.run_date = v.run_date
);

comment on view orders.sale is
    'One row a sale or a reversal of a line, a shipping line or an adjustment, over current orders '
    'that are no test orders. A figure is null where a part of it is unknown. See docs/sales.md';
comment on column orders.sale.order_id is 'The order (order_summary)';
comment on column orders.sale.run_date is 'Date of the dump that this version of the order is from; the day of the event is '
    'event_local_date';
comment on column orders.sale.event_at is
    'When it happened: the order''s processed_at, the refund''s, or cancelled_at';
comment on column orders.sale.event_local_date is 'The shop''s day on which it happened';
comment on column orders.sale.order_local_date is 'The shop''s day on which the order was placed';
comment on column orders.sale.kind is
    'sale, or reversal: a refund, an edit, or an order cancelled before payment';
comment on column orders.sale.line_type is 'product, gift_card, tip, shipping or adjustment';
comment on column orders.sale.line_id is 'The line (order_line_summary); null where it is of no line';
comment on column orders.sale.refund_id is
    'The refund (refund_summary); null of a sale, of an edit and of an order cancelled before payment';
comment on column orders.sale.product_id is
    'The product of the line (dim_product_variant)';
comment on column orders.sale.variant_id is
    'The variant of the line (dim_product_variant)';
comment on column orders.sale.quantity is 'Units; less than 0 taken back';
comment on column orders.sale.gross_sales is 'Sale before discounts, without taxes';
comment on column orders.sale.discounts is 'Discounts of the sale';
comment on column orders.sale.returns is 'What was taken back, without taxes';
comment on column orders.sale.net_sales is 'gross_sales less discounts and returns';
comment on column orders.sale.shipping is 'Shipping, without taxes; less than 0 given back';
comment on column orders.sale.taxes is 'Taxes; less than 0 given back';
comment on column orders.sale.total_sales is 'net_sales, shipping, taxes, duties and fees';
comment on column orders.sale.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.sale.source_name is 'The order''s channel: web, pos, ...';
comment on column orders.sale.location_id is 'Where the order was taken (dim_location)';
comment on column orders.sale.user_id is 'The member of staff who took the order (dim_user)';
comment on column orders.sale.device_id is 'The till that took the order (dim_device)';
comment on column orders.sale.gift_card_sales is 'Gift cards sold, which are no sales';
comment on column orders.sale.gift_card_returns is 'Gift cards refunded';
comment on column orders.sale.tips is 'Tips; less than 0 given back';
comment on column orders.sale.duties is
    'Duties, as the order was made: refunds leave them';
comment on column orders.sale.fees is
    'Additional fees, as the order was made: refunds leave them';

-- What a column is here it is in the view of all versions, which has three more.
do $$
declare
    same record;
begin
    for same in
        select a.attname as name, col_description(a.attrelid, a.attnum) as comment
        from pg_catalog.pg_attribute a
        where a.attrelid = 'orders.sale'::regclass and a.attnum > 0
    loop
        execute format(
            'comment on column orders_store.version_sale.%I is %L', same.name, same.comment);
    end loop;
end
$$;

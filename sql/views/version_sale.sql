-- The events of every version of every load: orders.sale has those that are current, and sales_day
-- their sums. The events of an order are looked up order by order, by the whole key.
create or replace view orders_store.version_sale as
select
    o.order_id,
    o.run_date,
    o.load_id,
    f.event_at,
    f.event_local_date,
    o.processed_local_date as order_local_date,
    coalesce(o.processed_at, o.created_at) as order_at,
    case v.cause when 'sale' then 'sale' else 'reversal' end as kind,
    e.line_type,
    e.line_id,
    e.refund_id,
    e.product_id,
    e.variant_id,
    v.sign * e.quantity as quantity,
    f.gross_sales,
    f.discounts,
    f.returns,
    f.gross_sales - f.discounts - f.returns as net_sales,
    f.shipping,
    f.taxes,
    f.gross_sales - f.discounts - f.returns + f.shipping + f.taxes + f.duties + f.fees as total_sales,
    o.currency,
    o.source_name,
    o.location_id,
    o.user_id,
    o.device_id,
    o.customer_id,
    f.gift_card_sales,
    f.gift_card_returns,
    f.tips,
    f.duties,
    f.fees
from orders_store.fact_order o
cross join lateral (
    -- Lines.
    select
        'sale' as cause,
        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end
            as line_type,
        l.line_id, null::bigint as refund_id, l.product_id, l.variant_id, l.quantity,
        l.quantity * l.price as amount, l.line_discount as discount, l.line_tax as tax,
        o.taxes_included as tax_inside, 0.0000 as duties, 0.0000 as fees
    from orders_store.fact_order_line l
    where l.run_date = o.run_date and l.load_id = o.load_id and l.order_id = o.order_id
    union all
    select
        'sale', 'shipping', null, null, null, null, null,
        coalesce(s.discounted_price, s.price - s.shipping_discount), 0.0000, s.shipping_tax,
        o.taxes_included, 0.0000, 0.0000
    from orders_store.fact_shipping_line s
    where s.run_date = o.run_date and s.load_id = o.load_id and s.order_id = o.order_id
        and s.is_removed is not true
    union all
    -- What an order has beyond its lines and shipping: other taxes, duties, fees.
    select
        'sale', 'adjustment', null, null, null, null, null,
        0.0000, 0.0000, r.tax,
        o.taxes_included, coalesce(o.original_total_duties, 0.0000),
        coalesce(o.original_total_fees, 0.0000)
    from (
        select o.total_tax - coalesce(sum(t.tax), 0) as tax
        from (
            select l.line_tax as tax from orders_store.fact_order_line l
            where l.run_date = o.run_date and l.load_id = o.load_id and l.order_id = o.order_id
            union all
            select s.shipping_tax from orders_store.fact_shipping_line s
            where s.run_date = o.run_date and s.load_id = o.load_id
                and s.order_id = o.order_id and s.is_removed is not true
        ) t
    ) r
    where r.tax <> 0 or o.original_total_duties <> 0 or o.original_total_fees <> 0
        or o.line_count = 0
    union all
    -- Units that an edit took away.
    select
        'edit',
        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end,
        l.line_id, null, l.product_id, l.variant_id, d.quantity,
        d.quantity * l.price, round(l.line_discount * d.quantity / l.quantity, 4),
        round(l.line_tax * d.quantity / l.quantity, 4), o.taxes_included, 0.0000, 0.0000
    from orders_store.fact_order_line l
    cross join lateral (
        select (l.quantity - l.current_quantity - coalesce(sum(r.quantity), 0))::bigint as quantity
        from orders_store.fact_refund_line r
        where r.run_date = o.run_date and r.load_id = o.load_id and r.order_id = o.order_id
            and r.line_id = l.line_id
    ) d
    where l.run_date = o.run_date and l.load_id = o.load_id and l.order_id = o.order_id
        and l.current_quantity < l.quantity and d.quantity > 0
    union all
    select
        'refund',
        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end,
        r.line_id, r.refund_id, l.product_id, l.variant_id, r.quantity,
        r.subtotal, 0.0000, r.total_tax, o.taxes_included, 0.0000, 0.0000
    from orders_store.fact_refund_line r
    left join orders_store.fact_order_line l
        on l.run_date = o.run_date and l.load_id = o.load_id and l.order_id = o.order_id
            and l.line_id = r.line_id
    where o.refund_count > 0 and r.run_date = o.run_date and r.load_id = o.load_id
        and r.order_id = o.order_id
    union all
    select
        'refund', 'adjustment', null, a.refund_id, null, null, null,
        -a.amount, 0.0000, -a.tax_amount, false, 0.0000, 0.0000
    from orders_store.fact_refund_adjustment a
    where o.refund_count > 0 and a.run_date = o.run_date and a.load_id = o.load_id
        and a.order_id = o.order_id
        and a.kind is distinct from 'shipping_refund'
    union all
    select
        'refund', 'shipping', null, r.refund_id, null, null, null,
        r.refunded_shipping, 0.0000, -t.tax, false, 0.0000, 0.0000
    from orders_store.fact_refund r
    cross join lateral (
        select coalesce(sum(a.tax_amount), 0) as tax from orders_store.fact_refund_adjustment a
        where a.run_date = o.run_date and a.load_id = o.load_id and a.order_id = o.order_id
            and a.refund_id = r.refund_id and a.kind = 'shipping_refund'
    ) t
    where o.refund_count > 0 and r.run_date = o.run_date and r.load_id = o.load_id
        and r.order_id = o.order_id
        and (r.refunded_shipping is distinct from 0 or t.tax <> 0)
) e
cross join lateral (
    select
        o.cancelled_at is not null and o.financial_status = 'voided' and o.refund_count = 0
            as is_voided
) x
cross join lateral (
    select e.cause, case e.cause when 'sale' then 1 else -1 end as sign
    where e.cause <> 'edit' or x.is_voided is not true
    union all
    select 'void', -1 where e.cause = 'sale' and x.is_voided
) v
left join lateral (
    select r.processed_at, r.refunded_at, r.refunded_local_date
    from orders_store.fact_refund r
    where r.run_date = o.run_date and r.load_id = o.load_id and r.order_id = o.order_id
        and r.refund_id = e.refund_id
    offset 0 -- else the planner may merge all refunds with all events of a run date
) r on true
cross join lateral (
    select
        e.amount - case when e.tax_inside then e.tax else 0.0000 end as goods,
        e.line_type in ('product', 'adjustment') as is_goods,
        v.cause = 'sale' as is_sale
) a
cross join lateral (
    select
        case v.cause
            when 'refund' then coalesce(r.processed_at, r.refunded_at)
            when 'void' then o.cancelled_at
            else coalesce(o.processed_at, o.created_at)
        end as event_at,
        case v.cause
            when 'refund' then r.refunded_local_date
            when 'void' then (
                o.cancelled_at at time zone 'UTC' + make_interval(mins => o.created_utc_offset_min)
            )::date
            else o.processed_local_date
        end as event_local_date,
        case when a.is_goods and a.is_sale then a.goods else 0.0000 end as gross_sales,
        case when a.is_goods and a.is_sale then e.discount else 0.0000 end as discounts,
        case when a.is_goods and not a.is_sale then a.goods - e.discount else 0.0000 end as returns,
        case when e.line_type = 'shipping' then v.sign * a.goods else 0.0000 end as shipping,
        v.sign * e.tax as taxes,
        v.sign * e.duties as duties,
        v.sign * e.fees as fees,
        case when e.line_type = 'gift_card' and a.is_sale then a.goods - e.discount else 0.0000 end
            as gift_card_sales,
        case when e.line_type = 'gift_card' and not a.is_sale then a.goods - e.discount else 0.0000 end
            as gift_card_returns,
        case when e.line_type = 'tip' then v.sign * (a.goods - e.discount) else 0.0000 end as tips
) f
where o.test is not true;

comment on view orders_store.version_sale is
    'The events of sales of every version of every order that a load brought';
comment on column orders_store.version_sale.load_id is 'The load that brought the version';
comment on column orders_store.version_sale.order_at is
    'When the order was made: processed_at, else created_at';
comment on column orders_store.version_sale.customer_id is 'The buyer (dim_customer)';

-- The events of versions of orders. transform/sale_sources.py and transform/sale_events.py say the same
-- in Arrow: change both, which tests/integration/test_mart_sums.py compares.
-- load/sale_events.py makes two forms of it, which differ only in how rows are found: the view
-- version_sale looks those of an order up order by order, by the whole key; what adds a load up in SQL
-- reads its rows of each table at once.
select
    n.order_id,
    n.run_date,
    n.load_id,
    n.event_at,
    n.event_local_date,
    n.order_local_date,
    n.order_at,
    n.kind,
    n.line_type,
    n.line_id,
    n.refund_id,
    n.product_id,
    n.variant_id,
    n.quantity,
    n.gross_sales,
    n.discounts,
    n.returns,
    n.net_sales,
    n.shipping,
    n.taxes,
    n.net_sales + n.shipping + n.taxes + n.duties + n.fees as total_sales,
    n.currency,
    n.source_name,
    n.location_id,
    n.user_id,
    n.device_id,
    n.customer_id,
    n.gift_card_sales,
    n.gift_card_returns,
    n.tips,
    n.duties,
    n.fees
from (
    select f.*, f.gross_sales - f.discounts - f.returns as net_sales
    from (
        select
            a.*,
            case when a.is_sale then 'sale' else 'reversal' end as kind,
            case when a.is_goods and a.is_sale then a.goods else 0.0000 end as gross_sales,
            case when a.is_goods and a.is_sale then a.discount else 0.0000 end as discounts,
            case when a.is_goods and not a.is_sale then a.goods - a.discount else 0.0000 end
                as returns,
            case when a.line_type = 'shipping' then a.sign * a.goods else 0.0000 end as shipping,
            a.sign * a.tax as taxes,
            a.sign * a.duty as duties,
            a.sign * a.fee as fees,
            case when a.is_gift_card and a.is_sale then a.goods - a.discount else 0.0000 end
                as gift_card_sales,
            case when a.is_gift_card and not a.is_sale then a.goods - a.discount else 0.0000 end
                as gift_card_returns,
            case when a.line_type = 'tip' then a.sign * (a.goods - a.discount) else 0.0000 end
                as tips
        from (
            select
                o.order_id,
                o.run_date,
                o.load_id,
                case v.cause
                    when 'refund' then e.refunded_at
                    when 'void' then o.cancelled_at
                    else coalesce(o.processed_at, o.created_at)
                end as event_at,
                case v.cause
                    when 'refund' then e.refunded_local_date
                    when 'void' then (
                        select d.day
                        from (
                            select (
                                o.cancelled_at at time zone 'UTC'
                                + make_interval(mins => o.created_utc_offset_min)
                            )::date as day
                        ) d
                        where d.day between '0001-01-01' and '9999-12-31'
                    )
                    else o.processed_local_date
                end as event_local_date,
                o.processed_local_date as order_local_date,
                coalesce(o.processed_at, o.created_at) as order_at,
                left(o.currency, {longest_text}) as currency,
                left(o.source_name, {longest_text}) as source_name,
                o.location_id,
                o.user_id,
                o.device_id,
                o.customer_id,
                v.cause = 'sale' as is_sale,
                v.sign,
                e.line_type,
                e.line_type in ('product', 'adjustment') as is_goods,
                e.line_type = 'gift_card' as is_gift_card,
                e.line_id,
                e.refund_id,
                e.product_id,
                e.variant_id,
                case when e.quantity between -{most_units} and {most_units} then v.sign * e.quantity end
                    ::bigint as quantity,
                e.amount - case when o.taxes_included and not e.is_net then e.tax else 0.0000 end
                    as goods,
                e.discount,
                e.tax,
                e.duty,
                e.fee
            from {asked}
            {join} (
                select e.*
                from (
                    -- Lines.
                    select
                        l.run_date, l.load_id, l.order_id, 'sale' as cause,
                        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end
                            as line_type,
                        l.line_id, null::bigint as refund_id, l.product_id, l.variant_id, l.quantity,
                        l.quantity * l.price as amount, false as is_net, l.line_discount as discount,
                        l.line_tax as tax, 0.0000 as duty, 0.0000 as fee,
                        null::timestamptz as refunded_at, null::date as refunded_local_date
                    from orders_store.fact_order_line l
                    union all
                    select
                        s.run_date, s.load_id, s.order_id, 'sale', 'shipping',
                        null, null, null, null, null,
                        coalesce(s.discounted_price, s.price - s.shipping_discount), false, 0.0000,
                        s.shipping_tax, 0.0000, 0.0000, null, null
                    from orders_store.fact_shipping_line s
                    where s.is_removed is not true
                    union all
                    -- What an order has beyond its lines and shipping: other taxes, duties, fees.
                    select
                        t.run_date, t.load_id, t.order_id, 'sale', 'adjustment',
                        null, null, null, null, null,
                        0.0000, false, 0.0000, t.tax, t.duty, t.fee, null, null
                    from (
                        select
                            o.run_date, o.load_id, o.order_id, o.line_count,
                            o.total_tax - coalesce(t.tax, 0) as tax,
                            coalesce(o.original_total_duties, 0.0000) as duty,
                            coalesce(o.original_total_fees, 0.0000) as fee
                        from {orders} o
                        left join (
                            select t.run_date, t.load_id, t.order_id, sum(t.tax) as tax
                            from (
                                select l.run_date, l.load_id, l.order_id, l.line_tax as tax
                                from orders_store.fact_order_line l
                                union all
                                select s.run_date, s.load_id, s.order_id, s.shipping_tax
                                from orders_store.fact_shipping_line s
                                where s.is_removed is not true
                            ) t
                            group by t.run_date, t.load_id, t.order_id
                        ) t using (run_date, load_id, order_id)
                    ) t
                    where t.tax <> 0 or t.duty <> 0 or t.fee <> 0 or t.line_count = 0
                    union all
                    -- Units that an edit took away.
                    select
                        l.run_date, l.load_id, l.order_id, 'edit',
                        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end,
                        l.line_id, null, l.product_id, l.variant_id, l.edited,
                        l.edited * l.price, false, round((l.line_discount * l.edited)::numeric(100, 30) / nullif(l.quantity, 0), 4),
                        round((l.line_tax * l.edited)::numeric(100, 30) / nullif(l.quantity, 0), 4), 0.0000, 0.0000, null, null
                    from (
                        select
                            l.*,
                            l.quantity::numeric - l.current_quantity - coalesce(r.quantity, 0) as edited
                        from orders_store.fact_order_line l
                        left join (
                            select r.run_date, r.load_id, r.order_id, r.line_id, sum(r.quantity) as quantity
                            from orders_store.fact_refund_line r
                            group by r.run_date, r.load_id, r.order_id, r.line_id
                        ) r using (run_date, load_id, order_id, line_id)
                        where l.current_quantity < l.quantity
                    ) l
                    where l.edited > 0
                    union all
                    select
                        r.run_date, r.load_id, r.order_id, 'refund',
                        case when l.is_tip then 'tip' when l.gift_card then 'gift_card' else 'product' end,
                        r.line_id, r.refund_id, l.product_id, l.variant_id, r.quantity,
                        r.subtotal, false, 0.0000, r.total_tax, 0.0000, 0.0000,
                        coalesce(f.processed_at, f.refunded_at), f.refunded_local_date
                    from orders_store.fact_refund_line r
                    left join orders_store.fact_order_line l using (run_date, load_id, order_id, line_id)
                    left join orders_store.fact_refund f using (run_date, load_id, order_id, refund_id)
                    union all
                    select
                        a.run_date, a.load_id, a.order_id, 'refund', 'adjustment',
                        null, a.refund_id, null, null, null,
                        -a.amount, true, 0.0000, -a.tax_amount, 0.0000, 0.0000,
                        coalesce(f.processed_at, f.refunded_at), f.refunded_local_date
                    from orders_store.fact_refund_adjustment a
                    left join orders_store.fact_refund f using (run_date, load_id, order_id, refund_id)
                    where a.kind is distinct from 'shipping_refund'
                    union all
                    select
                        f.run_date, f.load_id, f.order_id, 'refund', 'shipping',
                        null, f.refund_id, null, null, null,
                        f.refunded_shipping, true, 0.0000, -coalesce(a.tax, 0), 0.0000, 0.0000,
                        coalesce(f.processed_at, f.refunded_at), f.refunded_local_date
                    from orders_store.fact_refund f
                    left join (
                        select a.run_date, a.load_id, a.order_id, a.refund_id, sum(a.tax_amount) as tax
                        from orders_store.fact_refund_adjustment a
                        where a.kind = 'shipping_refund'
                        group by a.run_date, a.load_id, a.order_id, a.refund_id
                    ) a using (run_date, load_id, order_id, refund_id)
                    where f.refunded_shipping is distinct from 0 or a.tax <> 0
                ) e
                {of_order}
            ) e {on}
            cross join lateral (
                select
                    o.cancelled_at is not null and o.financial_status = 'voided'
                    and o.refund_count = 0 as is_voided
            ) x
            cross join lateral (
                select e.cause, case e.cause when 'sale' then 1 else -1 end as sign
                where e.cause <> 'edit' or x.is_voided is not true
                union all
                select 'void', -1 where e.cause = 'sale' and x.is_voided
            ) v
            where o.test is not true {rows}
            {fence}
        ) a
        {fence}
    ) f
    {fence}
) n
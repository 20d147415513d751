create or replace view orders.refund_summary as
select
    r.refund_id,
    r.order_id,
    o.name as order_name,
    coalesce(r.processed_at, r.refunded_at) as refunded_at,
    r.refunded_local_date,
    o.processed_local_date as order_local_date,
    r.currency,
    s.returns,
    -s.shipping as shipping,
    -s.taxes as taxes,
    s.gift_card_returns,
    -s.tips as tips,
    r.refunded_value,
    r.refunded_amount,
    r.refunded_value - r.refunded_amount as unexplained_refund,
    s.units_returned,
    r.user_id,
    r.note
from orders.order_current o
join orders.fact_refund r on r.run_date = o.run_date and r.order_id = o.order_id
left join (
    select
        run_date,
        order_id,
        refund_id,
        case when bool_and(returns is not null) then sum(returns) end as returns,
        case when bool_and(shipping is not null) then sum(shipping) end as shipping,
        case when bool_and(taxes is not null) then sum(taxes) end as taxes,
        case when bool_and(gift_card_returns is not null) then sum(gift_card_returns) end
            as gift_card_returns,
        case when bool_and(tips is not null) then sum(tips) end as tips,
        coalesce(-sum(quantity), 0)::bigint as units_returned
    from orders.sale
    group by run_date, order_id, refund_id
) s on s.run_date = r.run_date and s.order_id = r.order_id and s.refund_id = r.refund_id
where o.test is not true;

comment on view orders.refund_summary is
    'One row a refund of a current order: what was taken back, its value, and what was paid '
    'back. See docs/sales.md';
comment on column orders.refund_summary.refund_id is 'The refund (fact_refund)';
comment on column orders.refund_summary.order_id is 'The order that was refunded (order_summary)';
comment on column orders.refund_summary.order_name is 'The order''s display name, such as #1001';
comment on column orders.refund_summary.refunded_at is 'When it was refunded';
comment on column orders.refund_summary.refunded_local_date is
    'The shop''s day on which it was refunded';
comment on column orders.refund_summary.order_local_date is
    'The shop''s day on which the order was placed';
comment on column orders.refund_summary.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.refund_summary.returns is
    'Lines taken back, without taxes, less adjustments; null where a part is unknown';
comment on column orders.refund_summary.shipping is 'Shipping given back, without taxes';
comment on column orders.refund_summary.taxes is 'Taxes given back';
comment on column orders.refund_summary.gift_card_returns is 'Gift cards taken back';
comment on column orders.refund_summary.tips is 'Tips given back';
comment on column orders.refund_summary.refunded_value is 'Value of what was refunded';
comment on column orders.refund_summary.refunded_amount is
    'What was paid back; null where it was in another currency';
comment on column orders.refund_summary.unexplained_refund is
    'refunded_value less refunded_amount: 0 where all was paid back in the shop''s currency';
comment on column orders.refund_summary.units_returned is 'Units taken back';
comment on column orders.refund_summary.user_id is 'The member of staff who refunded';
comment on column orders.refund_summary.note is 'Why it was refunded';

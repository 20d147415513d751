-- Events and refunds are added up before the join, so they never multiply each other. They are
-- grouped by run date and order, so a query for one run date reads one partition, and a query for
-- an order probes indexes.
create or replace view orders.order_summary as
select
    o.order_id,
    o.name,
    o.currency,
    s.gross_sales,
    s.discounts,
    s.returns,
    s.net_sales,
    s.shipping,
    s.taxes,
    s.total_sales,
    s.gift_card_sales,
    s.gift_card_returns,
    s.units_sold,
    s.units_returned,
    o.total_price as total_amount,
    a.refunded_value,
    a.refunded_amount,
    a.refunded_value - a.refunded_amount as unexplained_refund,
    o.run_date,
    o.order_number,
    o.processed_local_date as order_local_date,
    o.created_at,
    o.updated_at,
    o.processed_at,
    o.closed_at,
    o.cancelled_at,
    coalesce(o.test, false) as is_test,
    o.cancelled_at is not null as is_cancelled,
    o.financial_status,
    o.fulfillment_status,
    o.source_name,
    o.location_id,
    o.user_id,
    o.device_id,
    o.customer_id,
    coalesce(o.email, o.contact_email) as buyer_email,
    o.phone as buyer_phone,
    o.shipping_country_code,
    o.line_count,
    coalesce(r.refund_count, 0) as refund_count,
    r.last_refunded_at,
    case
        when o.cancelled_at is not null then 'cancelled'
        when o.closed_at is not null then 'closed'
        else 'open'
    end as order_status,
    case
        when o.test is not true and o.customer_id is not null
            then coalesce(o.processed_at, o.created_at) = (
                select min(c.first_order_at) from orders_store.sales_customer c
                where c.customer_id = o.customer_id and c.order_count > 0
            )
    end as is_first_order,
    u.utm_source,
    u.utm_medium,
    u.utm_campaign
from orders.order_current o
left join (
    select
        run_date,
        order_id,
        case when bool_and(gross_sales is not null) then sum(gross_sales) end as gross_sales,
        case when bool_and(discounts is not null) then sum(discounts) end as discounts,
        case when bool_and(returns is not null) then sum(returns) end as returns,
        case when bool_and(net_sales is not null) then sum(net_sales) end as net_sales,
        case when bool_and(shipping is not null) then sum(shipping) end as shipping,
        case when bool_and(taxes is not null) then sum(taxes) end as taxes,
        case when bool_and(total_sales is not null) then sum(total_sales) end as total_sales,
        case when bool_and(gift_card_sales is not null) then sum(gift_card_sales) end as gift_card_sales,
        case when bool_and(gift_card_returns is not null) then sum(gift_card_returns) end as gift_card_returns,
        coalesce(sum(quantity) filter (where kind = 'sale' and line_type = 'product'), 0)::bigint
            as units_sold,
        coalesce(-sum(quantity) filter (where kind = 'reversal' and line_type = 'product'), 0)::bigint
            as units_returned
    from orders.sale
    group by run_date, order_id
) s on s.run_date = o.run_date and s.order_id = o.order_id
left join (
    select
        run_date,
        order_id,
        count(*) as refund_count,
        sum(refunded_value) as known_value,
        bool_or(refunded_value is null) as has_unknown_value,
        sum(refunded_amount) as known_amount,
        bool_or(refunded_amount is null) as has_unknown_amount,
        max(refunded_at) as last_refunded_at
    from orders.fact_refund
    group by run_date, order_id
) r on r.run_date = o.run_date and r.order_id = o.order_id
left join (
    select
        run_date,
        order_id,
        min(value) filter (where name = 'utm_source') as utm_source,
        min(value) filter (where name = 'utm_medium') as utm_medium,
        min(value) filter (where name = 'utm_campaign') as utm_campaign
    from orders.order_url_parameter
    where name in ('utm_source', 'utm_medium', 'utm_campaign')
    group by run_date, order_id
) u on u.run_date = o.run_date and u.order_id = o.order_id
cross join lateral (
    select
        case when r.has_unknown_value is not true then coalesce(r.known_value, 0.0000) end
            as refunded_value,
        case when r.has_unknown_amount is not true then coalesce(r.known_amount, 0.0000) end
            as refunded_amount
) a;

comment on view orders.order_summary is
    'One row a current order; test and cancelled orders are kept and flagged. Amounts are in the '
    'row''s currency. See docs/sales.md';
comment on column orders.order_summary.order_id is 'The order''s id';
comment on column orders.order_summary.name is 'The order''s display name, such as #1001';
comment on column orders.order_summary.currency is
    'ISO 4217 code of every amount in this row; never add up rows of different currencies';
comment on column orders.order_summary.gross_sales is
    'Sales before discounts, without taxes, gift cards and tips; null where a part is '
    'unknown, as all figures; null of a test order';
comment on column orders.order_summary.discounts is
    'Discounts on these sales, those of the whole order included';
comment on column orders.order_summary.returns is
    'What was taken back of these sales: refunds less adjustments, edits, cancelled unpaid '
    'orders';
comment on column orders.order_summary.net_sales is 'gross_sales less discounts and returns';
comment on column orders.order_summary.shipping is
    'Shipping after discounts and refunds, without taxes';
comment on column orders.order_summary.taxes is 'Taxes, less those of refunds';
comment on column orders.order_summary.total_sales is 'net_sales, shipping, taxes, duties and fees';
comment on column orders.order_summary.gift_card_sales is 'Gift cards sold, which are no sales';
comment on column orders.order_summary.gift_card_returns is 'Gift cards refunded';
comment on column orders.order_summary.units_sold is 'Units sold, without gift cards and tips';
comment on column orders.order_summary.units_returned is 'Units taken back';
comment on column orders.order_summary.total_amount is 'total_price: what the buyer was to pay';
comment on column orders.order_summary.refunded_value is
    'Value of what was refunded; 0 with none, null where one''s is unknown';
comment on column orders.order_summary.refunded_amount is
    'Sum of the successful refund payments; 0 with none, null where one''s amount is unknown '
    'or in another currency';
comment on column orders.order_summary.unexplained_refund is
    'refunded_value less refunded_amount: 0 where the order was paid in the shop''s currency '
    'and all was paid back';
comment on column orders.order_summary.run_date is
    'Date of the dump that this version is from; the day of the order is order_local_date';
comment on column orders.order_summary.order_number is 'The number that the customer sees';
comment on column orders.order_summary.order_local_date is
    'The shop''s day on which the order was placed: of processed_at, else created_at';
comment on column orders.order_summary.created_at is 'When the order was made';
comment on column orders.order_summary.updated_at is 'When the order was last changed';
comment on column orders.order_summary.processed_at is 'When the order was processed';
comment on column orders.order_summary.closed_at is 'When the order was closed';
comment on column orders.order_summary.cancelled_at is 'When the order was cancelled';
comment on column orders.order_summary.is_test is
    'A test order, which counts nowhere; false where the dump does not say';
comment on column orders.order_summary.is_cancelled is 'cancelled_at is known';
comment on column orders.order_summary.financial_status is 'State of the payment';
comment on column orders.order_summary.fulfillment_status is 'State of the delivery';
comment on column orders.order_summary.source_name is 'The channel: web, pos, ...';
comment on column orders.order_summary.location_id is 'Where the order was taken (dim_location)';
comment on column orders.order_summary.user_id is
    'The member of staff who took the order (dim_user); the buyer is customer_id';
comment on column orders.order_summary.device_id is 'The till that took the order (dim_device)';
comment on column orders.order_summary.customer_id is 'The buyer (dim_customer)';
comment on column orders.order_summary.buyer_email is 'The order''s email, else its contact_email';
comment on column orders.order_summary.buyer_phone is 'The order''s phone';
comment on column orders.order_summary.shipping_country_code is 'Country shipped to';
comment on column orders.order_summary.line_count is 'Number of lines';
comment on column orders.order_summary.refund_count is 'Number of refunds';
comment on column orders.order_summary.last_refunded_at is 'When it was last refunded';
comment on column orders.order_summary.order_status is
    'cancelled, closed (archived) or open';
comment on column orders.order_summary.is_first_order is
    'Whether it is the first order of its customer (processed_at, else created_at); null without a '
    'customer, and of test orders';
comment on column orders.order_summary.utm_source is
    'utm_source of landing_site; order_url_parameter has all parameters';
comment on column orders.order_summary.utm_medium is 'utm_medium of landing_site';
comment on column orders.order_summary.utm_campaign is 'utm_campaign of landing_site';

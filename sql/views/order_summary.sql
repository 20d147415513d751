-- Refunds are added up before the join, so lines and refunds never multiply each other. They are
-- grouped by run date and order, so a query for one run date reads one partition, and a query for
-- an order probes indexes.
create or replace view orders.order_summary as
select
    o.order_id,
    o.run_date,
    o.order_number,
    o.name,
    o.created_at,
    o.created_local_date,
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
    o.customer_id,
    coalesce(o.email, o.contact_email) as buyer_email,
    o.phone as buyer_phone,
    o.shipping_country_code,
    o.currency,
    o.line_count,
    o.unit_count,
    o.gross_line_amount,
    o.total_discounts as discount_amount,
    o.subtotal_price as subtotal_amount,
    o.total_tax as tax_amount,
    o.total_shipping_price as shipping_amount,
    o.total_price as gross_amount,
    coalesce(r.refund_count, 0) as refund_count,
    a.refunded_amount,
    o.total_price - a.refunded_amount as net_amount,
    r.last_refunded_at
from orders.order_current o
left join (
    select
        run_date,
        order_id,
        count(*) as refund_count,
        sum(refunded_amount) as known_amount,
        bool_or(refunded_amount is null) as has_unknown,
        max(refunded_at) as last_refunded_at
    from orders.fact_refund
    group by run_date, order_id
) r on r.run_date = o.run_date and r.order_id = o.order_id
cross join lateral (
    select case when not coalesce(r.has_unknown, false) then coalesce(r.known_amount, 0.0000) end
        as refunded_amount
) a;

comment on view orders.order_summary is
    'One row a current order; test and cancelled orders are kept and flagged. Amounts are in the '
    'row''s currency';
comment on column orders.order_summary.order_id is 'The order''s id';
comment on column orders.order_summary.run_date is 'Date of the dump that this version is from';
comment on column orders.order_summary.order_number is 'The number that the customer sees';
comment on column orders.order_summary.name is 'The order''s display name, such as #1001';
comment on column orders.order_summary.created_at is 'When the order was made';
comment on column orders.order_summary.created_local_date is 'The shop''s day on which it was made';
comment on column orders.order_summary.updated_at is 'When the order was last changed';
comment on column orders.order_summary.processed_at is 'When the order was processed';
comment on column orders.order_summary.closed_at is 'When the order was closed';
comment on column orders.order_summary.cancelled_at is 'When the order was cancelled';
comment on column orders.order_summary.is_test is 'A test order; false where the dump does not say';
comment on column orders.order_summary.is_cancelled is 'cancelled_at is known';
comment on column orders.order_summary.financial_status is 'State of the payment';
comment on column orders.order_summary.fulfillment_status is 'State of the delivery';
comment on column orders.order_summary.source_name is 'The channel: web, pos, ...';
comment on column orders.order_summary.location_id is 'Where the order was taken (dim_location)';
comment on column orders.order_summary.user_id is
    'The member of staff who took the order (dim_user); the buyer is customer_id';
comment on column orders.order_summary.customer_id is 'The buyer (dim_customer)';
comment on column orders.order_summary.buyer_email is 'The order''s email, else its contact_email';
comment on column orders.order_summary.buyer_phone is 'The order''s phone';
comment on column orders.order_summary.shipping_country_code is 'Country shipped to';
comment on column orders.order_summary.currency is
    'ISO 4217 code of every amount in this row; never add up rows of different currencies';
comment on column orders.order_summary.line_count is 'Number of lines';
comment on column orders.order_summary.unit_count is
    'Units on all lines; null where a line has no quantity';
comment on column orders.order_summary.gross_line_amount is
    'Sum of quantity times price; null where a line lacks one';
comment on column orders.order_summary.discount_amount is 'Discounts';
comment on column orders.order_summary.subtotal_amount is 'Lines after discounts, before shipping';
comment on column orders.order_summary.tax_amount is 'Taxes';
comment on column orders.order_summary.shipping_amount is 'Shipping, in the shop''s currency';
comment on column orders.order_summary.gross_amount is
    'total_price: with taxes, shipping and discounts, before refunds';
comment on column orders.order_summary.refund_count is 'Number of refunds';
comment on column orders.order_summary.refunded_amount is
    'Sum of the successful refunds; 0 with none, null where one''s amount is unknown or in another '
    'currency';
comment on column orders.order_summary.net_amount is
    'gross_amount less refunded_amount; null where either is';
comment on column orders.order_summary.last_refunded_at is 'When it was last refunded';

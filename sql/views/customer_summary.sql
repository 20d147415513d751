-- Sums that every publish changes (sql/marts.sql). A row whose orders all went away stays, with 0.
-- A quintile is that of the share of customers who are worse, so that equal customers have the same:
-- ntile would divide those with one order by their ids.
create or replace view orders.customer_summary as
select
    customer_id,
    currency,
    first_order_date,
    last_order_date,
    order_count,
    gross_sales,
    net_sales,
    units_sold,
    round((gross_sales - discounts) / order_count, 2) as average_order_value,
    round(
        (last_order_date - first_order_date)::numeric / nullif(order_count - 1, 0), 1
    ) as average_days_between_orders,
    (1 + 5 * (rank() over by_recency - 1) / count(*) over of_currency)::int as recency_quintile,
    (1 + 5 * (rank() over by_frequency - 1) / count(*) over of_currency)::int
        as frequency_quintile,
    (1 + 5 * (rank() over by_value - 1) / count(*) over of_currency)::int as monetary_quintile
from orders_store.sales_customer
where order_count > 0
window
    of_currency as (partition by currency),
    by_recency as (partition by currency order by last_order_date nulls first),
    by_frequency as (partition by currency order by order_count),
    by_value as (partition by currency order by net_sales);

comment on view orders.customer_summary is
    'One row a customer and currency: what they bought, and how recent, frequent and valuable '
    'they are among the customers of that currency (RFM scores: 5 is best)';
comment on column orders.customer_summary.customer_id is 'The customer (dim_customer)';
comment on column orders.customer_summary.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.customer_summary.first_order_date is
    'The shop''s day on which their first order was placed';
comment on column orders.customer_summary.last_order_date is
    'The shop''s day on which their last order was placed';
comment on column orders.customer_summary.order_count is 'Orders, cancelled ones included';
comment on column orders.customer_summary.gross_sales is
    'Sales before discounts, without taxes; unknown ones are left out of all figures';
comment on column orders.customer_summary.net_sales is 'gross_sales less discounts and returns';
comment on column orders.customer_summary.units_sold is 'Units sold, without gift cards and tips';
comment on column orders.customer_summary.average_order_value is
    'gross_sales less discounts, an order';
comment on column orders.customer_summary.average_days_between_orders is
    'Days from one order to the next; null with one order';
comment on column orders.customer_summary.recency_quintile is
    '5 where at least 80% of the customers of the currency ordered last on an earlier day, 4 from'
    ' 60%, and so on to 1; equal days have the same';
comment on column orders.customer_summary.frequency_quintile is
    '5 where at least 80% of the customers of the currency have fewer orders, 4 from 60%, and so on'
    ' to 1; equal numbers have the same';
comment on column orders.customer_summary.monetary_quintile is
    '5 where at least 80% of the customers of the currency have lower net sales, 4 from 60%, and so'
    ' on to 1; equal amounts have the same';

create or replace view orders.customer_summary as
select
    customer_id,
    currency,
    min(order_local_date) as first_order_date,
    max(order_local_date) as last_order_date,
    count(*) as order_count,
    sum(gross_sales) as gross_sales,
    sum(net_sales) as net_sales,
    sum(units_sold)::bigint as units_sold,
    round(sum(gross_sales - discounts) / count(*), 2) as average_order_value,
    round(
        (max(order_local_date) - min(order_local_date))::numeric / nullif(count(*) - 1, 0), 1
    ) as average_days_between_orders,
    ntile(5) over (
        partition by currency order by max(order_local_date) nulls first, customer_id
    ) as recency_quintile,
    ntile(5) over (partition by currency order by count(*), customer_id) as frequency_quintile,
    ntile(5) over (
        partition by currency order by sum(net_sales) nulls first, customer_id
    ) as monetary_quintile
from orders.order_summary
where not is_test and customer_id is not null
group by customer_id, currency;

comment on view orders.customer_summary is
    'One row a customer and currency: what they bought, and how recent, frequent and valuable '
    'they are among the customers of that currency (5 is best)';
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
    '1 to 5: 5 has the latest last orders';
comment on column orders.customer_summary.frequency_quintile is '1 to 5: 5 has the most orders';
comment on column orders.customer_summary.monetary_quintile is
    '1 to 5: 5 has the greatest net sales';

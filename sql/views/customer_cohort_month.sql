create or replace view orders.customer_cohort_month as
with customer_order as (
    select
        customer_id,
        currency,
        net_sales,
        date_trunc('month', order_local_date)::date as order_month,
        min(date_trunc('month', order_local_date)::date) over (partition by customer_id, currency)
            as cohort_month
    from orders.order_summary
    where not is_test and customer_id is not null and order_local_date is not null
)
select
    cohort_month,
    (
        extract(year from age(order_month, cohort_month)) * 12
        + extract(month from age(order_month, cohort_month))
    )::int as months_since,
    currency,
    count(distinct customer_id) as customer_count,
    count(*) as order_count,
    sum(net_sales) as net_sales
from customer_order
group by cohort_month, months_since, currency;

comment on view orders.customer_cohort_month is
    'Customers by the month of their first order in a currency, and how many of them ordered how'
    ' many months later in the same: the matrix of retention';
comment on column orders.customer_cohort_month.cohort_month is
    'First day of the month of the customers'' first order in the currency';
comment on column orders.customer_cohort_month.months_since is 'Months since then, from 0';
comment on column orders.customer_cohort_month.currency is 'ISO 4217 code of the row''s amounts';
comment on column orders.customer_cohort_month.customer_count is
    'Customers of the cohort who ordered in that month';
comment on column orders.customer_cohort_month.order_count is 'Their orders in that month';
comment on column orders.customer_cohort_month.net_sales is
    'Net sales of these orders, on whatever day they were taken back';

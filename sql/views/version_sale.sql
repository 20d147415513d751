create or replace view orders_store.version_sale as
{events};

comment on view orders_store.version_sale is
    'The events of sales of every version of every order that a load brought';
comment on column orders_store.version_sale.load_id is 'The load that brought the version';
comment on column orders_store.version_sale.order_at is
    'When the order was made: processed_at, else created_at';
comment on column orders_store.version_sale.customer_id is 'The buyer (dim_customer)';

create or replace view orders.order_tag as
select o.order_id, o.run_date, t.tag_number, t.tag
from orders.order_current o
cross join lateral unnest(string_to_array(o.tags, ', ')) with ordinality as t (tag, tag_number);

comment on view orders.order_tag is
    'One row a tag of a current order: tags, split at '', ''';
comment on column orders.order_tag.order_id is 'The order''s id';
comment on column orders.order_tag.run_date is 'Date of the dump that this version is from';
comment on column orders.order_tag.tag_number is 'The tag''s place in tags, from 1';
comment on column orders.order_tag.tag is 'The tag';

-- Anybody can write anything into an address. convert_from would end the whole query with an error
-- where the bytes are no UTF-8 or have a NUL, so such a text is left as it is written.
create or replace view orders.order_url_parameter as
select o.order_id, o.run_date, p.parameter_number, d.name, d.value
from orders.order_current o
cross join lateral unnest(
    string_to_array(substring(o.landing_site from '[?]([^#]*)'), '&')
) with ordinality as p (parameter, parameter_number)
cross join lateral (
    select
        max(t.decoded) filter (where w.side = 1) as name,
        max(t.decoded) filter (where w.side = 2) as value
    from unnest(
        array[split_part(p.parameter, '=', 1), substring(p.parameter from '=(.*)')]
    ) with ordinality as w (written, side)
    cross join lateral (
        select string_agg(
            case
                when m.found[1] ~ '^%..$' then decode(substr(m.found[1], 2), 'hex')
                else convert_to(m.found[1], 'UTF8')
            end,
            '' order by m.number
        ) as bytes
        from regexp_matches(
            replace(w.written, '+', ' '), '%[0-9A-Fa-f]{2}|%|[^%]+', 'g'
        ) with ordinality as m (found, number)
    ) b
    cross join lateral (
        select case
            when encode(b.bytes, 'hex') ~ (
                '^(?:0[1-9a-f]|[1-7].|(?:c[2-9a-f]|d.)[89ab].'
                '|(?:e0[ab].|e[1-9abcef][89ab].|ed[89].)[89ab].'
                '|(?:f0[9ab].|f[123][89ab].|f48.)[89ab].[89ab].)*$'
            ) then convert_from(b.bytes, 'UTF8')
            else w.written
        end as decoded
    ) t
) d
where p.parameter <> '';

comment on view orders.order_url_parameter is
    'One row a parameter of the address that a current order''s buyer landed on, such as '
    'utm_source: landing_site behind its question mark, split and decoded';
comment on column orders.order_url_parameter.order_id is 'The order''s id';
comment on column orders.order_url_parameter.run_date is
    'Date of the dump that this version is from';
comment on column orders.order_url_parameter.parameter_number is
    'The parameter''s place in the address, from 1';
comment on column orders.order_url_parameter.name is
    'The parameter''s name, decoded; as written where that gives no text';
comment on column orders.order_url_parameter.value is
    'Its value, decoded; as written where that gives no text, null without an equals sign';

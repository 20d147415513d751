"""Make one synthetic order from its key: the JSON, and the rows and amounts it comes to.

An order follows from ``(seed, date, number)`` alone, an edited order also from the second of the
edit. So any order can be made without making others. Amounts are integer cents until they are
written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from random import Random

from orders_dask.synthetic import templates
from orders_dask.synthetic.catalogue import (
    CUSTOMERS,
    MARKETS,
    VARIANTS,
    address_values,
    amount_text,
    customer_member,
    json_boolean,
    money_set,
)
from orders_dask.synthetic.children import (
    PERSONALISED,
    allocation,
    make_line,
    make_refund,
    tax_line,
    tip_line,
)

ID_SPACE = 10_000_000
"""Orders that a date can have: its ids are date.toordinal() * ID_SPACE + number, with 13 digits."""

DAY = 86_400


@dataclass
class Order:
    """An order as JSON text, and the rows and amounts that a loader must get from it.

    Attributes
    ----------
    text
        Compact JSON.
    created, version
        `created_at` and `updated_at` as local seconds since day 0, ``date.toordinal() * 86400`` and
        up. The UTC offset of an order never changes, so its versions can be compared.
    currency
        The currency of all amounts.
    total_price, gross
        `total_price` and `gross_line_amount` as they are stored, None for null.
    refunded
        Sum of `refunded_amount` over the refunds.
    lines, refunds, refund_lines, adjustments, shipping_lines
        Number of rows in the fact tables of the children.
    details
        Number of rows in each table of the optional groups.
    """

    text: str
    created: int
    version: int
    currency: str
    total_price: Decimal | None
    gross: Decimal | None
    refunded: Decimal
    lines: int
    refunds: int
    refund_lines: int
    adjustments: int
    shipping_lines: int
    details: Counter[str] = field(default_factory=Counter)


NOTES = ("null", "null", '""', '"Leave it at the \\"red\\" door"', '"Für Zoë 🎁\\nno receipt"')
REASONS = ('"customer"', '"fraud"', '"inventory"')
STAFF, LOCATIONS, DEVICES = 24, 6, 18
SHIPPING = 795
# Each of the 100 items is one percent of the orders or lines.
CHANNELS = ("web",) * 80 + ("pos",) * 12 + ("shopify_draft_order",) * 8
APPS = {"web": 580_111, "pos": 129_785, "shopify_draft_order": 1_354_745}
LINE_COUNTS = (1,) * 20 + (2,) * 35 + (3,) * 25 + (4,) * 15 + (5,) * 5  # 2.5 on average
QUANTITIES = (1,) * 82 + (2,) * 12 + (3,) * 4 + (6,) * 2


def random_for(*key: object) -> Random:
    """Return a random number generator that is seeded by a key."""
    return Random("/".join(map(str, key)))


def order_id(born: date, number: int) -> int:
    """Return the id of an order; every 16th is above 2^53, where a float is inexact."""
    return born.toordinal() * ID_SPACE + number + (2**55 if number % 16 == 15 else 0)


def make_order(seed: int, born: date, number: int, edited: int | None = None) -> Order:
    """Return an order as it was made, or after an edit.

    Parameters
    ----------
    seed, born, number
        The key of the order. `born` is the date on which it was made, `number` counts from 0 on
        that date and is less than `ID_SPACE`.
    edited
        The local second of the edit (see `Order.version`). An edit changes the order as it was
        made: a quantity, the note, the status, and it may add refunds.

    Returns
    -------
    Order
        The JSON, and what it comes to.
    """
    draw = random_for(seed, born, number)
    chance = draw.random
    market = MARKETS[int(chance() * len(MARKETS))]
    channel = CHANNELS[int(chance() * 100)]
    buyer = int(CUSTOMERS * chance() ** 3)  # cubed: a few customers buy often, most seldom
    known = chance() < (0.4 if channel == "pos" else 0.97)
    basket = [
        (int(chance() * VARIANTS), QUANTITIES[int(chance() * 100)])
        for _ in range(LINE_COUNTS[int(chance() * 100)])
    ]
    coupon, test, paid = chance() < 0.15, chance() < 0.02, chance() < 0.93
    cancelled, refunded, fulfilled = chance() < 0.02, chance() < 0.04, chance() < 0.3
    created = born.toordinal() * DAY + int(chance() * 86_000)
    version = created + 2 + int(chance() * 300)
    token = f"{draw.getrandbits(128):032x}"
    if edited is not None:
        version = edited
        draw = random_for(seed, born, number, edited)
        chance = draw.random
        basket[0] = basket[0][0], basket[0][1] + int(chance() * 4)
        cancelled, refunded, fulfilled = chance() < 0.1, chance() < 0.4, chance() < 0.8
        paid = True

    id_ = order_id(born, number)
    currency = market.currency
    created_at, updated_at = _timestamp(created, market.offset), _timestamp(version, market.offset)
    web, pos = channel == "web", channel == "pos"
    staff = 41_000_000 + number % STAFF
    lines = [
        make_line(
            id_ * 10 + index,
            chosen,
            quantity,
            market,
            discounted=coupon,
            taxed=not test,
            fulfilled=fulfilled,
            staff=staff if pos else None,
        )
        for index, (chosen, quantity) in enumerate(basket)
    ]
    gross = sum(line.price * line.quantity for line in lines)
    discount = sum(line.discount for line in lines)
    shipping = 0 if pos else SHIPPING
    shipping_discount = 200 if shipping and number % 23 == 0 else 0
    shipping_tax = 63 if shipping and number % 19 == 0 else 0
    tax = sum(line.tax for line in lines) + shipping_tax
    tip = 200 if pos and number % 5 == 0 else 0
    duties, fees = (1_200, 150) if shipping and number % 31 == 0 else (0, 0)
    total = gross - discount + shipping - shipping_discount + tax + tip + duties + fees
    returned = lines[: 1 + (chance() < 0.3)] if refunded else []
    refunds = [
        make_refund(
            draw,
            id_,
            index,
            line,
            market.currency,
            staff,
            updated_at,
            shipping=300 if shipping and index == 0 and number % 4 == 0 else 0,
        )
        for index, line in enumerate(returned)
    ]
    given_back = sum(refund.amount for refund in refunds)
    discounts = [templates.COUPON] if coupon else []
    if shipping_discount:
        less = amount_text(shipping_discount)
        discounts.append(templates.SHIPPING_DISCOUNT(amount=less, title="Cheaper shipping"))

    line_texts = [line.text for line in lines]
    if tip:
        line_texts.append(tip_line(id_, tip, currency))

    business, gift_wrapped = buyer % 40 == 0, number % 9 == 0
    address = address_values(buyer, market)
    address_text = templates.ADDRESS(**address)
    email = f"buyer{buyer}@example.com" if known else ""
    shipping_set = money_set(shipping, currency)
    text = templates.ORDER(
        id=id_,
        app_id=APPS[channel],
        browser_ip=f'"203.0.113.{number % 250}"' if web else "null",
        marketing=json_boolean(buyer % 3 > 0),
        cancel_reason=REASONS[number % 3] if cancelled else "null",
        cancelled_at=f'"{updated_at}"' if cancelled else "null",
        cart_token=f'"{token[::-1]}"' if web else "null",
        checkout_id=id_ + 21_000_000_000_000,
        token=token,
        locale=market.locale,
        closed_at=f'"{updated_at}"' if fulfilled else "null",
        confirmation_number=token[:9].upper(),
        contact_email=f'"{email}"' if known else "null",
        created_at=created_at,
        updated_at=updated_at,
        currency=currency,
        subtotal=amount_text(gross - discount),
        subtotal_set=money_set(gross - discount, currency),
        discount=amount_text(discount + shipping_discount),
        discount_set=money_set(discount + shipping_discount, currency),
        discount_codes=f'{{"code":"TENOFF","amount":"{amount_text(discount)}","type":"percentage"}}'
        if coupon
        else "",
        discounts=",".join(discounts),
        gross=amount_text(gross),
        tax=amount_text(tax),
        tax_set=money_set(tax, currency),
        tax_line="" if test else tax_line(tax, market),
        total=amount_text(total),
        total_set=money_set(total, currency),
        total_usd=amount_text(total if currency == "USD" else total * 5 // 4),
        current_total=amount_text(total - given_back),
        outstanding="0.00" if paid else amount_text(total),
        tip=amount_text(tip),
        duties_set=money_set(duties, currency) if duties else "null",
        fees_set=money_set(fees, currency) if fees else "null",
        company=templates.COMPANY(id=52_000_000 + buyer) if business else "null",
        po_number=f'"PO-{number}"' if business else "null",
        payment_terms=templates.PAYMENT_TERMS(
            amount=amount_text(total),
            currency=currency,
            issued_at=created_at,
            due_at=_timestamp(created + 30 * DAY, market.offset),
        )
        if business
        else "null",
        weight=sum(line.weight for line in lines),
        device_id=number % DEVICES + 1 if pos else "null",
        location_id=36_000_000 + number % LOCATIONS if pos else "null",
        user_id="null" if web else staff,
        email=email,
        phone=f'"{address["phone"]}"' if number % 4 == 0 else "null",
        financial_status="partially_refunded" if refunds else "paid" if paid else "pending",
        fulfillment_status='"fulfilled"' if fulfilled else "null",
        fulfilment=templates.FULFILMENT(
            order_id=id_,
            order_number=number + 1_001,
            at=updated_at,
            shipment_status="null" if number % 3 else '"in_transit"',
            lines=",".join(
                templates.FULFILMENT_LINE(id=line.id, quantity=line.quantity) for line in lines
            ),
        )
        if fulfilled
        else "",
        landing_site='"/collections/all?utm_source=newsletter"' if web else "null",
        landing_site_ref='"newsletter"' if web and number % 3 == 0 else "null",
        referring_site='"https://www.example.com/search"' if web else "null",
        note=NOTES[int(chance() * len(NOTES))],
        note_attributes='{"name":"gift_wrap","value":"yes"}' if gift_wrapped else "",
        number=number + 1,
        order_number=number + 1_001,
        gateways='"shopify_payments"' + (',"gift_card"' if number % 11 == 0 else ""),
        source_identifier=f'"{number % LOCATIONS}-{number}"' if pos else "null",
        reference=f'"{token[:8]}"' if pos else "null",
        source_name=channel,
        source_url=f'"https://pos.example.com/{number}"' if pos else "null",
        tags=("", "gift", "gift, wholesale")[buyer % 3],
        test=json_boolean(test),
        address=address_text,
        customer=customer_member(buyer, market, updated_at, address, address_text) if known else "",
        shipping_address="null" if pos else f"{{{address_text}}}",
        shipping_set=shipping_set,
        shipping_line=templates.SHIPPING_LINE(
            order_id=id_,
            amount=amount_text(shipping),
            set=shipping_set,
            discounted=amount_text(shipping - shipping_discount),
            service='"8da6d0b5f1c2"' if number % 3 == 0 else "null",
            tax_line=tax_line(shipping_tax, market) if shipping_tax else "",
            allocation=allocation(shipping_discount, currency, len(discounts) - 1),
        )
        if shipping
        else "",
        lines=",".join(line_texts),
        refunds=",".join(refund.text for refund in refunds),
    )
    return Order(
        text=text,
        created=created,
        version=version,
        currency=currency,
        total_price=Decimal(total).scaleb(-2),
        gross=Decimal(gross + tip).scaleb(-2),
        refunded=Decimal(given_back).scaleb(-2),
        lines=len(line_texts),
        refunds=len(refunds),
        refund_lines=len(refunds),
        adjustments=sum(refund.adjustments for refund in refunds),
        shipping_lines=int(shipping > 0),
        details=Counter(
            fact_discount=len(discounts),
            fact_discount_code=int(coupon),
            fact_line_discount=sum(line.discount > 0 for line in lines),
            fact_fulfillment=int(fulfilled),
            fact_fulfillment_line=len(lines) if fulfilled else 0,
            fact_refund_transaction=sum(refund.transactions for refund in refunds),
            fact_refund_shipping=sum(refund.shipping_lines for refund in refunds),
            fact_line_tax=0 if test else len(lines),
            fact_shipping_tax=int(shipping_tax > 0),
            fact_order_attribute=int(gift_wrapped),
            fact_line_property=sum(line.id % PERSONALISED == 0 for line in lines),
            fact_line_staff=len(lines) if pos else 0,
        ),
    )


def _timestamp(local_second: int, offset: str) -> str:
    day, second = divmod(local_second, DAY)
    time = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{date.fromordinal(day)}T{time}{offset}"

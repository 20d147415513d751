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
from typing import NamedTuple

from orders_dask.synthetic import templates
from orders_dask.synthetic.catalogue import (
    CUSTOMERS,
    MARKETS,
    VARIANTS,
    Market,
    address_values,
    amount_text,
    customer_member,
    json_boolean,
    money_set,
    variant,
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


class _Line(NamedTuple):
    id: int
    price: int
    quantity: int
    discount: int
    tax: int
    weight: int
    text: str


class _Refund(NamedTuple):
    """The JSON of a refund, the cents that it gave back, and the numbers of its children."""

    text: str
    amount: int
    adjustments: int
    transactions: int
    shipping_lines: int


NOTES = ("null", "null", '""', '"Leave it at the \\"red\\" door"', '"Für Zoë 🎁\\nno receipt"')
REFUND_NOTES = ("null", '"Wrong size"', '"Damaged"', '""')
REASONS = ('"customer"', '"fraud"', '"inventory"')
STAFF, LOCATIONS, DEVICES = 24, 6, 18
SHIPPING = 795
PERSONALISED = 7  # a line in so many is engraved
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
        _line(
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
        _refund(
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
        tax_line="" if test else _tax_line(tax, market),
        total=amount_text(total),
        total_set=money_set(total, currency),
        total_usd=amount_text(total if currency == "USD" else total * 5 // 4),
        current_total=amount_text(total - given_back),
        outstanding="0.00" if paid else amount_text(total),
        tip=amount_text(tip),
        duties_set=money_set(duties, currency) if duties else "null",
        fees_set=money_set(fees, currency) if fees else "null",
        company=templates.COMPANY(id=52_000_000 + buyer) if buyer % 40 == 0 else "null",
        po_number=f'"PO-{number}"' if buyer % 40 == 0 else "null",
        payment_terms=templates.PAYMENT_TERMS(
            amount=amount_text(total),
            currency=currency,
            issued_at=created_at,
            due_at=_timestamp(created + 30 * DAY, market.offset),
        )
        if buyer % 40 == 0
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
        note_attributes='{"name":"gift_wrap","value":"yes"}' if number % 9 == 0 else "",
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
            tax_line=_tax_line(shipping_tax, market) if shipping_tax else "",
            allocation=_allocation(shipping_discount, currency, len(discounts) - 1),
        )
        if shipping
        else "",
        lines=",".join([*(line.text for line in lines), *_tip(id_, tip, currency)]),
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
        lines=len(lines) + (tip > 0),
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
            fact_order_attribute=int(number % 9 == 0),
            fact_line_property=sum(line.id % PERSONALISED == 0 for line in lines),
            fact_line_staff=len(lines) if pos else 0,
        ),
    )


def _timestamp(local_second: int, offset: str) -> str:
    day, second = divmod(local_second, DAY)
    time = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"{date.fromordinal(day)}T{time}{offset}"


def _line(
    line_id: int,
    chosen: int,
    quantity: int,
    market: Market,
    *,
    discounted: bool,
    taxed: bool,
    fulfilled: bool,
    staff: int | None,
) -> _Line:
    price, grams, common = variant(chosen)
    discount = price * quantity // 10 if discounted else 0
    tax = price * quantity * market.permille // 1_000 if taxed else 0
    text = templates.LINE(
        id=line_id,
        variant=common,
        quantity=quantity,
        fulfillable=0 if fulfilled else quantity,
        fulfillment_status='"fulfilled"' if fulfilled else "null",
        price_set=money_set(price, market.currency),
        tax_line=_tax_line(tax, market) if taxed else "",
        allocation=_allocation(discount, market.currency, 0),
        property='{"name":"engraving","value":"Zoë"}' if line_id % PERSONALISED == 0 else "",
        staff=templates.STAFF(id=staff, quantity=quantity) if staff else "",
    )
    return _Line(line_id, price, quantity, discount, tax, grams * quantity, text)


def _tip(order: int, cents: int, currency: str) -> list[str]:
    """Return the line of a tip, if there is one. Its gateway is null when it was paid in cash."""
    return [
        templates.TIP(
            id=order * 10 + 9,
            amount=amount_text(cents),
            set=money_set(cents, currency),
            gateway="null" if order % 2 else '"shopify_payments"',
        )
        for _ in range(cents > 0)
    ]


def _allocation(cents: int, currency: str, discount: int) -> str:
    """Return the discount allocation of a line, if it has one, by the index of the discount."""
    if not cents:
        return ""
    amount, as_set = amount_text(cents), money_set(cents, currency)
    return templates.ALLOCATION(amount=amount, set=as_set, index=discount)


def _tax_line(cents: int, market: Market) -> str:
    return templates.TAX_LINE(
        amount=amount_text(cents), rate=market.permille / 1_000, title=market.tax
    )


def _refund(
    draw: Random,
    order: int,
    index: int,
    line: _Line,
    currency: str,
    staff: int,
    at: str,
    *,
    shipping: int,
) -> _Refund:
    """Refund one unit of a line, and some cents for shipping.

    One refund in five has a failed transaction before the successful one. A loader must not count
    it. Of refunded shipping there is an adjustment, a refunded shipping line, or both, as in dumps
    of different versions of the API. A loader must count one of them.
    """
    refund_id = order * 10 + index
    unit_tax = line.tax // line.quantity
    subtotal = line.price - line.discount // line.quantity
    withheld = draw.randrange(100, 400) if draw.random() < 0.3 else 0
    form = ("adjustment", "line", "both")[order // 4 % 3]
    given_back = subtotal + unit_tax - withheld + shipping
    statuses = ("failure", "success") if draw.random() < 0.2 else ("success",)
    shared = {"order_id": order, "refund_id": refund_id, "currency": currency, "at": at}
    transactions = [
        templates.TRANSACTION(
            **shared,
            number=number,
            status=status,
            error_code='"card_declined"' if status == "failure" else "null",
            amount=amount_text(given_back),
        )
        for number, status in enumerate(statuses)
    ]
    adjustments = []
    if withheld:
        adjustments.append(
            templates.ADJUSTMENT(
                **shared,
                amount=amount_text(withheld),
                set=money_set(withheld, currency),
                tax_set=money_set(0, currency),
            )
        )
    if shipping and form != "line":
        adjustments.append(templates.SHIPPING_ADJUSTMENT(**shared, amount=amount_text(shipping)))
    shipping_lines = []
    if shipping and form != "adjustment":
        shipping_lines.append(
            templates.REFUND_SHIPPING_LINE(
                **shared, set=money_set(shipping, currency), tax_set=money_set(0, currency)
            )
        )
    text = templates.REFUND(
        **shared,
        id=refund_id,
        note=draw.choice(REFUND_NOTES),
        user_id=staff,
        adjustments=",".join(adjustments),
        transactions=",".join(transactions),
        line_id=line.id,
        subtotal=amount_text(subtotal),
        subtotal_set=money_set(subtotal, currency),
        tax=amount_text(unit_tax),
        tax_set=money_set(unit_tax, currency),
        shipping_line=",".join(shipping_lines),
    )
    return _Refund(text, given_back, len(adjustments), len(transactions), len(shipping_lines))

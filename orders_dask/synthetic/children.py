"""Make the children of a synthetic order that amounts depend on: its lines and its refunds.

Amounts are integer cents until they are written.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from orders_dask.synthetic import templates
from orders_dask.synthetic.catalogue import Market, amount_text, money_set, variant

PERSONALISED = 7  # a line in so many is engraved
REFUND_NOTES = ("null", '"Wrong size"', '"Damaged"', '""')


class Line(NamedTuple):
    """The JSON of a line, and what it comes to: cents and grams."""

    id: int
    price: int
    quantity: int
    discount: int
    tax: int
    weight: int
    text: str


class Refund(NamedTuple):
    """The JSON of a refund, the cents that it gave back, and the numbers of its children."""

    text: str
    amount: int
    adjustments: int
    transactions: int
    shipping_lines: int


def make_line(
    line_id: int,
    chosen: int,
    quantity: int,
    market: Market,
    *,
    discounted: bool,
    taxed: bool,
    fulfilled: bool,
    staff: int | None,
) -> Line:
    """Return a line of some units of a chosen variant; 10 percent are taken off if `discounted`."""
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
        tax_line=tax_line(tax, market) if taxed else "",
        allocation=allocation(discount, market.currency, 0),
        property='{"name":"engraving","value":"Zoë"}' if line_id % PERSONALISED == 0 else "",
        staff=templates.STAFF(id=staff, quantity=quantity) if staff else "",
    )
    return Line(line_id, price, quantity, discount, tax, grams * quantity, text)


def tip_line(order: int, cents: int, currency: str) -> str:
    """Return the line of a tip. Its gateway is null when it was paid in cash."""
    return templates.TIP(
        id=order * 10 + 9,
        amount=amount_text(cents),
        set=money_set(cents, currency),
        gateway="null" if order % 2 else '"shopify_payments"',
    )


def allocation(cents: int, currency: str, discount: int) -> str:
    """Return the discount allocation of a line, if it has one, by the index of the discount."""
    if not cents:
        return ""
    amount, as_set = amount_text(cents), money_set(cents, currency)
    return templates.ALLOCATION(amount=amount, set=as_set, index=discount)


def tax_line(cents: int, market: Market) -> str:
    """Return the tax line of an order, a line or a shipping line."""
    return templates.TAX_LINE(
        amount=amount_text(cents), rate=market.permille / 1_000, title=market.tax
    )


def make_refund(
    draw: Random,
    order: int,
    index: int,
    line: Line,
    currency: str,
    staff: int,
    at: str,
    *,
    shipping: int,
) -> Refund:
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
    return Refund(text, given_back, len(adjustments), len(transactions), len(shipping_lines))

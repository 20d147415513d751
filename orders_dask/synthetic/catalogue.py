"""Markets, products and customers of the synthetic shop."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from orders_dask.synthetic import templates

VARIANTS, CUSTOMERS = 1_500, 100_000


class Market(NamedTuple):
    """The country of an order; `tax` is the name of its sales tax, `permille` the rate."""

    currency: str
    offset: str
    country: str
    country_code: str
    locale: str
    tax: str
    permille: int
    cities: tuple[tuple[str, str, str, str], ...]  # city, province, province code, postcode


MARKETS = (
    Market("USD", "-05:00", "United States", "US", "en-US", "State Tax", 80,
            (("New York", "New York", "NY", "10013"), ("Miami", "Florida", "FL", "33139"))),
    Market("USD", "-04:00", "United States", "US", "es-US", "State Tax", 63,
            (("Boston", "Massachusetts", "MA", "02116"), ("Cañon", "Georgia", "GA", "30520"))),
    Market("CAD", "-05:00", "Canada", "CA", "fr-CA", "TVQ", 149,
            (("Montréal", "Québec", "QC", "H2X 1Y4"), ("Ottawa", "Ontario", "ON", "K1P 5M7"))),
    Market("EUR", "+01:00", "Germany", "DE", "de-DE", "MwSt", 190,
            (("Köln", "Nordrhein-Westfalen", "NW", "50667"), ("München", "Bayern", "BY", "80331"))),
    Market("GBP", "+01:00", "United Kingdom", "GB", "en-GB", "VAT", 200,
            (("Leeds", "England", "ENG", "LS1 4AP"), ("Ynys Môn", "Wales", "WLS", "LL77 7TF"))),
)  # fmt: skip
GIVEN = ("Ada", "Björn", "Chloë", "Dmitri", "Elif", "Grace", "Hồng", "Inés", "José", "Kateřina")
FAMILY = ("Smith", "O'Neill", "Müller", "Nakamura", "Øverland", "Tremblay", "Wójcik", "de la Cruz")
ADJECTIVES = ("Plain", "Heavy", "Merino", "Organic", "Café", "Limited 🌲")
NOUNS = ("Hoodie", "Mug", "Tote Bag", "Field Jacket", "Candle", "Notebook", "Blanket")
SIZES = ("XS", "S", "M", "L", "XL")
VENDORS = ("Northern Loom", "Atelier Égal", "Harbour & Sons")


def amount_text(cents: int) -> str:
    """Return an amount, 0 or more, with two decimals, as Shopify writes it."""
    return f"{cents // 100}.{cents % 100:02}"


def money_set(cents: int, currency: str) -> str:
    """Return the JSON of an amount in the shop's and the buyer's currency, which are the same."""
    money = f'{{"amount":"{amount_text(cents)}","currency_code":"{currency}"}}'
    return f'{{"shop_money":{money},"presentment_money":{money}}}'


def json_boolean(value: bool) -> str:
    """Return the JSON of a boolean."""
    return "true" if value else "false"


@cache
def variant(number: int) -> tuple[int, int, str]:
    """Return the price in cents, the weight in grams and the JSON of a product variant."""
    product, size = divmod(number, len(SIZES))
    price, grams = 500 + number * 7_919 % 19_500, number * 37 % 1_800
    gift_card = number % 97 == 0
    text = templates.VARIANT(
        variant_id=39_000_000_000_000 + number * 33_024,
        product_id=6_600_000_000_000 + product * 32_768,
        sku=f"P{product:04}-{SIZES[size]}",
        title=f"{ADJECTIVES[product % len(ADJECTIVES)]} {NOUNS[product % len(NOUNS)]} {product}",
        size=SIZES[size],
        vendor=VENDORS[product % len(VENDORS)],
        price=amount_text(price),
        gift_card=json_boolean(gift_card),
        requires_shipping=json_boolean(not gift_card),
        grams=grams,
    )
    return price, grams, text


def address_values(buyer: int, market: Market) -> dict[str, object]:
    """Return the values of `templates.ADDRESS`."""
    city, province, province_code, postcode = market.cities[buyer % len(market.cities)]
    return {
        "given": GIVEN[buyer % len(GIVEN)],
        "family": FAMILY[buyer // 7 % len(FAMILY)],
        "house": buyer % 400 + 1,
        "city": city,
        "province": province,
        "province_code": province_code,
        "country": market.country,
        "country_code": market.country_code,
        "zip": postcode,
        "phone": f"+1555{buyer:07}",
    }


def customer_member(
    buyer: int, market: Market, updated_at: str, address: dict[str, object], address_text: str
) -> str:
    """Return the member `customer` of an order; the orders of guests have none."""
    customer = templates.CUSTOMER(
        **address,
        id=7_100_000_000_000 + buyer * 32_768,
        email=f"buyer{buyer}@example.com",
        created_at=f"2015-03-{buyer % 28 + 1:02}T09:30:00-05:00",
        updated_at=updated_at,
        state="enabled" if buyer % 4 else "disabled",
        verified=json_boolean(buyer % 5 > 0),
        currency=market.currency,
        tags="vip" if buyer < 100 else "",
        address=address_text,
    )
    return f'"customer":{customer},'

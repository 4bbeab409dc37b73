"""The bodies that the gateway reads: closed schemas, which the OpenAPI document shows as they stand."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hotsku.domain.cart import MAX_LINES
from hotsku.domain.identity import (
    MAX_METADATA_BYTES,
    MAX_PAYMENT_REF_LENGTH,
    MAX_QUANTITY,
    MAX_TTL_MS,
    check_ttl,
)
from hotsku.domain.item import MAX_PARTITIONS, Routing
from hotsku.domain.times import to_ms
from hotsku.errors import InvalidRequest
from hotsku.http.strict_json import Body

MAX_BATCH = 1000
# A hold is shorter than three years.
MAX_TTL_S = (MAX_TTL_MS - 1) // 1000

# Bytes. An order is at most some 300; a batch is 1,000 of them.
MAX_BODY = 8_192
MAX_BATCH_BODY = 1_048_576
MAX_CART_BODY = 65_536

ID_PATTERN = r"^[A-Za-z0-9._:@+=-]{1,64}$"
BUYER_PATTERN = r"^[A-Za-z0-9._:@+=-]{0,64}$"
PAYMENT_PATTERN = rf"^[A-Za-z0-9._:@+=-]{{1,{MAX_PAYMENT_REF_LENGTH}}}$"
ID_WORDS = "1 to 64 characters of A-Z a-z 0-9 . _ : @ + = -"
BUYER_WORDS = f"nothing, or {ID_WORDS}"
_QUANTITY = f"an integer from 1 to {MAX_QUANTITY}"

# The engine checks ids, with the patterns that the documents show: a second check here would only cost.
_DOCUMENTED_ID = Meta(extra_json_schema={"pattern": ID_PATTERN})
_DOCUMENTED_BUYER = Meta(extra_json_schema={"pattern": BUYER_PATTERN})

Id = Annotated[str, _DOCUMENTED_ID]
BuyerId = Annotated[str, _DOCUMENTED_BUYER]
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]


Metadata = Annotated[
    str,
    Meta(
        max_length=MAX_METADATA_BYTES,
        extra_json_schema={"description": f"At most {MAX_METADATA_BYTES} bytes of UTF-8.", "pattern": r"^[^\x00]*$"},
    ),
]
PaymentRef = Annotated[str, Meta(extra_json_schema={"pattern": PAYMENT_PATTERN})]
Ttl = Annotated[int, Meta(ge=1, le=MAX_TTL_S)]


class DeductionBody(Struct, forbid_unknown_fields=True, gc=False):
    """An order of one item. `order_id` may be left out where an `Idempotency-Key` header has it. `metadata` is yours:
    the order keeps it, and events carry it."""

    order_id: Id | UnsetType = UNSET
    quantity: Quantity = 1
    buyer_id: BuyerId = ""
    metadata: Metadata = ""


class ReservationBody(Struct, forbid_unknown_fields=True, gc=False):
    """An order that is held until it is confirmed, for `ttl_s` seconds; by default for the item's `hold_ttl`."""

    order_id: Id | UnsetType = UNSET
    quantity: Quantity = 1
    buyer_id: BuyerId = ""
    metadata: Metadata = ""
    ttl_s: Ttl | None = None


class ReleaseBody(Struct, forbid_unknown_fields=True, gc=False):
    """Whose order it is: as it was made."""

    buyer_id: BuyerId = ""


class ConfirmBody(Struct, forbid_unknown_fields=True, gc=False):
    """What paid for the order."""

    buyer_id: BuyerId = ""
    payment_ref: PaymentRef | None = None


class BeginPaymentBody(Struct, forbid_unknown_fields=True, gc=False):
    """How long the hold lasts at least from now, in seconds; by default the item's `hold_ttl`."""

    buyer_id: BuyerId = ""
    ttl_s: Ttl | None = None


class ExtendBody(Struct, forbid_unknown_fields=True, gc=False):
    """How long the hold lasts at least from now, in seconds."""

    ttl_s: Ttl
    buyer_id: BuyerId = ""


class RefundBody(Struct, forbid_unknown_fields=True, gc=False):
    """How many units are refunded in all, those of earlier refunds included; by default the whole order."""

    buyer_id: BuyerId = ""
    quantity: Quantity | None = None


class CartLineBody(Struct, forbid_unknown_fields=True, gc=False):
    """One item of a cart."""

    sku: Id
    quantity: Quantity = 1


class CartBody(Struct, forbid_unknown_fields=True):
    """Items that are held together or not at all, for `ttl_s` seconds; by default for the shortest of their `hold_ttl`.
    The same SKU in several lines is one line with the sum."""

    order_id: Id
    lines: Annotated[list[CartLineBody], Meta(min_length=1, max_length=MAX_LINES)]
    buyer_id: BuyerId = ""
    metadata: Metadata = ""
    ttl_s: Ttl | None = None


class BatchOrder(Struct, forbid_unknown_fields=True, gc=False):
    """One order of a batch."""

    order_id: Id
    quantity: Quantity = 1
    buyer_id: BuyerId = ""
    metadata: Metadata = ""


class BatchBody(Struct, forbid_unknown_fields=True):
    """Up to 1,000 orders of one item. Each is decided for itself."""

    orders: Annotated[list[BatchOrder], Meta(min_length=1, max_length=MAX_BATCH)]


class RestockBody(Struct, forbid_unknown_fields=True):
    """Units that come (or go, where it is negative: never what is sold or held). `adjustment_id` names the restock: the
    same again is done once."""

    adjustment_id: Id
    quantity: Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]


class EmptyBody(Struct, forbid_unknown_fields=True):
    """Nothing is to be said."""


class ItemBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """An item to be put on sale. Times are RFC 3339 with an offset; `hold_ttl` is an ISO 8601 duration."""

    sku: Id
    total: Quantity
    partitions: Annotated[int, Meta(ge=1, le=MAX_PARTITIONS)] | None = None
    limit_per_buyer: Quantity | None = None
    opens_at: Annotated[datetime, Meta(tz=True)] | None = None
    closes_at: Annotated[datetime, Meta(tz=True)] | None = None
    hold_ttl: timedelta = timedelta(minutes=15)
    routing: Routing = "sticky"
    refund_restores_limit: bool = False


_ORDER = {"order_id": ID_WORDS, "quantity": _QUANTITY, "buyer_id": BUYER_WORDS}
_TIME = "an RFC 3339 time with its offset, after 1970 and before 9999, as 2026-11-27T20:00:00Z, or null"

_METADATA = f"text of at most {MAX_METADATA_BYTES} bytes of UTF-8"
_PAYMENT = f"1 to {MAX_PAYMENT_REF_LENGTH} characters of A-Z a-z 0-9 . _ : @ + = -, or null"
_TTL = f"an integer from 1 to {MAX_TTL_S}"
_PLACED = {**_ORDER, "metadata": _METADATA}
_BUYER = {"buyer_id": BUYER_WORDS}

DEDUCTION = Body(DeductionBody, _PLACED)
RESERVATION = Body(ReservationBody, {**_PLACED, "ttl_s": f"{_TTL}, or null"})
RELEASE = Body(ReleaseBody, _BUYER, optional=True)
CONFIRM = Body(ConfirmBody, {**_BUYER, "payment_ref": _PAYMENT}, optional=True)
BEGIN_PAYMENT = Body(BeginPaymentBody, {**_BUYER, "ttl_s": f"{_TTL}, or null"}, optional=True)
EXTEND = Body(ExtendBody, {**_BUYER, "ttl_s": _TTL})
REFUND = Body(RefundBody, {**_BUYER, "quantity": f"{_QUANTITY}, or null"}, optional=True)
BATCH = Body(BatchBody, {"orders": f"a list of 1 to {MAX_BATCH} orders", **_PLACED}, nested=BatchOrder)
CART = Body(
    CartBody,
    {**_PLACED, "sku": ID_WORDS, "lines": f"a list of 1 to {MAX_LINES} lines", "ttl_s": f"{_TTL}, or null"},
    nested=CartLineBody,
)
RESTOCK = Body(
    RestockBody,
    {"adjustment_id": ID_WORDS, "quantity": f"an integer from -{MAX_QUANTITY} to {MAX_QUANTITY}, but not 0"},
)
EMPTY = Body(EmptyBody, {}, optional=True)
ITEM = Body(
    ItemBody,
    {
        "sku": ID_WORDS,
        "total": _QUANTITY,
        "partitions": f"an integer from 1 to {MAX_PARTITIONS}, or null",
        "limit_per_buyer": f"{_QUANTITY}, or null",
        "opens_at": _TIME,
        "closes_at": _TIME,
        "hold_ttl": 'an ISO 8601 duration of at least 1 ms and shorter than three years, as "PT15M"',
        "routing": "one of sticky, random, round_robin",
        "refund_restores_limit": "true or false",
    },
)


def read_item(body: bytes) -> ItemBody:
    """An item's body. The engine checks its times, too, in the words of Python, which no body is written in."""
    item = ITEM.read(body)
    try:
        check_ttl(item.hold_ttl, "hold_ttl")
        to_ms("opens_at", item.opens_at)
        to_ms("closes_at", item.closes_at)
    except InvalidRequest as error:
        raise InvalidRequest(error.field, ITEM.allowed[error.field]) from None
    return item

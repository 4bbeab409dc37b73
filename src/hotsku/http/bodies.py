"""The bodies that the gateway reads: closed schemas, which the OpenAPI document shows as they stand."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from hotsku.domain.identity import MAX_QUANTITY
from hotsku.domain.item import MAX_PARTITIONS, Routing
from hotsku.http.strict_json import Body

MAX_BATCH = 1000

# Bytes. An order is at most some 300; a batch is 1,000 of them.
MAX_BODY = 8_192
MAX_BATCH_BODY = 1_048_576

ID_PATTERN = r"^[A-Za-z0-9._:@+=-]{1,64}$"
BUYER_PATTERN = r"^[A-Za-z0-9._:@+=-]{0,64}$"
_ID = "1 to 64 characters of A-Z a-z 0-9 . _ : @ + = -"
_QUANTITY = f"an integer from 1 to {MAX_QUANTITY}"

# The engine checks ids, with the patterns that the documents show: a second check here would only cost.
_DOCUMENTED_ID = Meta(extra_json_schema={"pattern": ID_PATTERN})
_DOCUMENTED_BUYER = Meta(extra_json_schema={"pattern": BUYER_PATTERN})

Id = Annotated[str, _DOCUMENTED_ID]
BuyerId = Annotated[str, _DOCUMENTED_BUYER]
Quantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]


class DeductionBody(Struct, forbid_unknown_fields=True, gc=False):
    """An order of one item. `order_id` may be left out where an `Idempotency-Key` header has it."""

    order_id: Id | UnsetType = UNSET
    quantity: Quantity = 1
    buyer_id: BuyerId = ""


class BatchOrder(Struct, forbid_unknown_fields=True, gc=False):
    """One order of a batch."""

    order_id: Id
    quantity: Quantity = 1
    buyer_id: BuyerId = ""


class BatchBody(Struct, forbid_unknown_fields=True):
    """Up to 1,000 orders of one item. Each is decided for itself."""

    orders: Annotated[list[BatchOrder], Meta(min_length=1, max_length=MAX_BATCH)]


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


_ORDER = {"order_id": _ID, "quantity": _QUANTITY, "buyer_id": f"nothing, or {_ID}"}
_TIME = "an RFC 3339 time with its offset, as 2026-11-27T20:00:00Z, or null"

DEDUCTION = Body(DeductionBody, _ORDER)
BATCH = Body(BatchBody, {"orders": f"a list of 1 to {MAX_BATCH} orders", **_ORDER}, nested=True)
ITEM = Body(
    ItemBody,
    {
        "sku": _ID,
        "total": _QUANTITY,
        "partitions": f"an integer from 1 to {MAX_PARTITIONS}, or null",
        "limit_per_buyer": f"{_QUANTITY}, or null",
        "opens_at": _TIME,
        "closes_at": _TIME,
        "hold_ttl": 'an ISO 8601 duration, as "PT15M"',
        "routing": "one of sticky, random, round_robin",
        "refund_restores_limit": "true or false",
    },
)

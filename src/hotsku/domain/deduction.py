"""What a buyer hears: the outcome of an order, and its detail."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    """How an order was answered. Expected noes are outcomes, never exceptions."""

    ACCEPTED = "accepted"
    SOLD_OUT = "sold_out"
    INSUFFICIENT = "insufficient"
    LIMIT_EXCEEDED = "limit_exceeded"
    NOT_OPEN = "not_open"
    CLOSED = "closed"
    PAUSED = "paused"
    NOT_FOUND = "not_found"


class OrderState(StrEnum):
    """The state of an order that was accepted."""

    CONFIRMED = "confirmed"


class Order(Struct, frozen=True, gc=False):
    """One order of a `deduct_many` call."""

    order_id: str
    quantity: int = 1
    buyer_id: str = ""


class Deduction(Struct, frozen=True, gc=False, kw_only=True):
    """The answer to one order.

    `state` is None where the answer was no. `replayed` is true when an earlier attempt of the same order decided it.
    `available` is there where a no has it: the units that could still be sold.
    `expires_at`, `payment_ref`, `metadata` and `receipt` belong to holds and receipts; `deduct` leaves them unset.
    """

    outcome: Outcome
    sku: str
    order_id: str
    buyer_id: str
    quantity: int
    partition: int
    state: OrderState | None = None
    replayed: bool = False
    available: int | None = None
    expires_at: datetime | None = None
    payment_ref: str | None = None
    metadata: str = ""
    receipt: str | None = None

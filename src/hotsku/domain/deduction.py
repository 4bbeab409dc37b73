"""What a buyer hears: the outcome of an order, and its detail."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    """How an order was answered. Expected noes are outcomes, never exceptions."""

    ACCEPTED = "accepted"
    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    SOLD_OUT = "sold_out"
    INSUFFICIENT = "insufficient"
    LIMIT_EXCEEDED = "limit_exceeded"
    NOT_OPEN = "not_open"
    CLOSED = "closed"
    PAUSED = "paused"
    NOT_FOUND = "not_found"


class OrderState(StrEnum):
    """The state of an order that was accepted."""

    HELD = "held"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class Order(Struct, frozen=True, gc=False):
    """One order of a `deduct_many` call."""

    order_id: str
    quantity: int = 1
    buyer_id: str = ""
    metadata: str = ""


class Proof(Struct, frozen=True, gc=False):
    """Where an order's birth stands, and who signs a receipt of it. One serves all orders of a batch.

    `sign` is None where there are no keys.
    """

    incarnation: int
    at_ms: int
    sign: "Callable[[Deduction], str] | None" = None


class Deduction(Struct, frozen=True, gc=False, kw_only=True):
    """The answer to one order, or to a step of it.

    `state` is today's, and None where the answer was no. `replayed` is true when an earlier attempt decided it: then
    `outcome` is that attempt's. `available` is there where a no has it: the units that could still be sold.
    `expires_at` is a hold's. `refunded` counts the units given back of `quantity`. `refund_payment_ref` is a payment
    that came in vain and is to be given back: its order had ended, or was confirmed by another payment.
    `seq` numbers the order's birth among the events of its partition's `incarnation`; 0: there is none.
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
    refunded: int = 0
    refund_payment_ref: str | None = None
    seq: int = 0
    proof: Proof | None = None

    @property
    def incarnation(self) -> int:
        """The incarnation of its partition in which the order was accepted; 0: it was not."""
        return self.proof.incarnation if self.proof else 0

    @property
    def at_ms(self) -> int:
        """When it was accepted, by the shard's clock in milliseconds since the epoch; 0: it was not."""
        return self.proof.at_ms if self.proof else 0

    @property
    def receipt(self) -> str | None:
        """The signed proof of this answer: see `hotsku.receipts`. It is signed here, when it is read, and always the
        same for the same order in the same state. None where the answer was no, or where there are no keys."""
        return self.proof.sign(self) if self.proof and self.proof.sign else None

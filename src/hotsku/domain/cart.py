"""Carts: several items under one order, all or nothing.

A cart's decision is one row of the ledger, and its lines are holds in their home partitions that carry the cart's mark:

    open ──► confirmed      by compare-and-set, before any line is confirmed
      └────► released       by its buyer, by a line that could not be held, or by the reaper when its time is over

Nothing but the decision ends a line. A line's own time only says when the reaper looks the decision up, so a line that
was held late, after its cart was decided and led to its end, follows the decision as well.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from hotsku.domain.deduction import OrderState, Outcome
from hotsku.domain.identity import check_id, check_quantity
from hotsku.errors import InvalidRequest

MAX_LINES = 100

_LINES = f"a list of 1 to {MAX_LINES} lines, each a CartLine or a mapping with sku and, if wanted, quantity"


class CartLine(Struct, frozen=True):
    """One item of a cart."""

    sku: str
    quantity: int = 1


class LineAnswer(Struct, frozen=True):
    """What became of a line. `outcome` is None where the line was never tried: one before it was refused."""

    sku: str
    quantity: int
    outcome: Outcome | None = None


class Cart(Struct, frozen=True, kw_only=True):
    """The answer to a cart.

    `outcome` says how the call was answered: `held`, `confirmed`, `released`, `not_found`, or why a line could not be
    held (then `refused` is its SKU, `available` what was left of it where that is known, and nothing of the cart is
    held). `state` is today's, None where the answer was no.
    `replayed` is true when an earlier call decided it. `lines` are in the order of their SKUs. `expires_at` is when a
    cart that nobody confirms is released. `refund_payment_ref` is a payment that came too late, or twice: give it back.
    """

    outcome: Outcome
    order_id: str
    buyer_id: str
    state: OrderState | None = None
    replayed: bool = False
    lines: list[LineAnswer] = []
    expires_at: datetime | None = None
    payment_ref: str | None = None
    refund_payment_ref: str | None = None
    refused: str | None = None
    available: int | None = None


def check_lines(values: object) -> list[CartLine]:
    """The lines, checked: those of one SKU summed, in the order of their SKUs, which is the order in which they are
    held: two carts of the same items then never wait for each other's last units.

    Raises:
        InvalidRequest: names the first line that is wrong, by its index.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise InvalidRequest("lines", _LINES)
    units: dict[str, int] = {}
    for index, value in enumerate(values):
        line = _check_line(value, f"lines[{index}]")
        units[line.sku] = check_quantity(units.get(line.sku, 0) + line.quantity, f"lines[{index}].quantity")
    if not 1 <= len(units) <= MAX_LINES:
        raise InvalidRequest("lines", _LINES)
    return [CartLine(sku, quantity) for sku, quantity in sorted(units.items())]


def _check_line(value: object, field: str) -> CartLine:
    if isinstance(value, Mapping):
        if not {"sku"} <= value.keys() <= {"sku", "quantity"}:
            raise InvalidRequest(field, "a mapping with sku and, if wanted, quantity")
        value = CartLine(**{str(name): part for name, part in value.items()})
    if not isinstance(value, CartLine):
        raise InvalidRequest(field, "a CartLine or a mapping with its fields")
    check_id(f"{field}.sku", value.sku)
    check_quantity(value.quantity, f"{field}.quantity")
    return value

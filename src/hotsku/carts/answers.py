"""What the calls of a cart answer, from its row in the ledger: the same for a replay as for the first one."""

from collections.abc import Sequence

from msgspec import Struct

from hotsku.domain.cart import Cart, CartLine, LineAnswer
from hotsku.domain.deduction import OrderState, Outcome
from hotsku.domain.times import time_of
from hotsku.ports import CartRow


class Refusal(Struct, frozen=True):
    """Why a cart could not be held: an outcome or another word, the line's SKU, and the units of it that were left,
    where that was known."""

    why: str
    sku: str
    available: int | None = None


def write_refusal(refusal: Refusal) -> str:
    """The refusal as a cart's row has it."""
    words = f"{refusal.why} {refusal.sku}"
    return words if refusal.available is None else f"{words} {refusal.available}"


def read_refusal(text: str) -> Refusal:
    """The refusal of a cart's row that has one."""
    why, sku, *left = text.split(" ")
    return Refusal(why, sku, int(left[0]) if left else None)


def reserved(cart: CartRow, *, replayed: bool) -> Cart:
    """What `reserve` answers: that it is held, with today's state; or why not."""
    if cart.refusal:
        no = read_refusal(cart.refusal)
        return _answer(cart, Outcome(no.why), replayed=replayed, refused=no.sku, available=no.available)
    return _answer(cart, Outcome.HELD if cart.held else _outcome(cart), replayed=replayed)


def decided(cart: CartRow, *, replayed: bool, refund_payment_ref: str = "") -> Cart:
    """What a step answers: what the cart is."""
    return _answer(cart, _outcome(cart), replayed=replayed, refund_payment_ref=refund_payment_ref)


def _answer(
    cart: CartRow,
    outcome: Outcome,
    *,
    replayed: bool,
    refused: str | None = None,
    available: int | None = None,
    refund_payment_ref: str = "",
) -> Cart:
    return Cart(
        outcome=outcome,
        state=None if refused else _state(cart),
        replayed=replayed,
        order_id=cart.order_id,
        buyer_id=cart.buyer_id,
        lines=_lines(cart),
        expires_at=None if refused else time_of(cart.expires_at_ms),
        payment_ref=cart.payment_ref or None,
        refund_payment_ref=refund_payment_ref or None,
        refused=refused,
        available=available,
    )


def _lines(cart: CartRow) -> list[LineAnswer]:
    no = read_refusal(cart.refusal) if cart.refusal else Refusal("", "")
    skus: Sequence[str] = [line.sku for line in cart.lines]
    last = skus.index(no.sku) if no.sku in skus else len(skus)
    tried = [LineAnswer(line.sku, line.quantity, _outcome(cart)) for line in cart.lines[:last]]
    if last == len(skus):
        return tried
    line = cart.lines[last]
    # No outcome: the item has this order already, by itself.
    why = Outcome(no.why) if no.why in Outcome._value2member_map_ else None
    return [*tried, LineAnswer(line.sku, line.quantity, why), *_untried(cart.lines[last + 1 :])]


def _untried(lines: Sequence[CartLine]) -> list[LineAnswer]:
    return [LineAnswer(line.sku, line.quantity) for line in lines]


def not_found(order_id: str, buyer_id: str) -> Cart:
    """No word of a payment: it may be for a cart that has another buyer, or comes later."""
    return Cart(outcome=Outcome.NOT_FOUND, order_id=order_id, buyer_id=buyer_id)


def _state(cart: CartRow) -> OrderState:
    return OrderState.HELD if cart.state == "open" else OrderState(cart.state)


def _outcome(cart: CartRow) -> Outcome:
    return Outcome(_state(cart))

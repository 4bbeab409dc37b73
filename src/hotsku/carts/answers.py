"""What the calls of a cart answer, from its row in the ledger: the same for a replay as for the first one."""

from collections.abc import Sequence

from hotsku.domain.cart import Cart, CartLine, LineAnswer
from hotsku.domain.deduction import OrderState, Outcome
from hotsku.domain.times import time_of
from hotsku.ports import CartRow


def reserved(cart: CartRow, *, replayed: bool) -> Cart:
    """What `reserve` answers: that it is held, with today's state; or why not."""
    outcome, _, sku = cart.refusal.partition(" ")
    if outcome:
        return _answer(cart, Outcome(outcome), replayed=replayed, refused=sku)
    return _answer(cart, Outcome.HELD if cart.held else _outcome(cart), replayed=replayed)


def decided(cart: CartRow, *, replayed: bool, refund_payment_ref: str = "") -> Cart:
    """What a step answers: what the cart is."""
    return _answer(cart, _outcome(cart), replayed=replayed, refund_payment_ref=refund_payment_ref)


def _answer(
    cart: CartRow, outcome: Outcome, *, replayed: bool, refused: str | None = None, refund_payment_ref: str = ""
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
    )


def _lines(cart: CartRow) -> list[LineAnswer]:
    outcome, _, refused = cart.refusal.partition(" ")
    skus: Sequence[str] = [line.sku for line in cart.lines]
    last = skus.index(refused) if refused in skus else len(skus)
    tried = [LineAnswer(line.sku, line.quantity, _outcome(cart)) for line in cart.lines[:last]]
    if last == len(skus):
        return tried
    line = cart.lines[last]
    # No outcome: the item has this order already, by itself.
    why = Outcome(outcome) if outcome in Outcome._value2member_map_ else None
    return [*tried, LineAnswer(line.sku, line.quantity, why), *_untried(cart.lines[last + 1 :])]


def _untried(lines: Sequence[CartLine]) -> list[LineAnswer]:
    return [LineAnswer(line.sku, line.quantity) for line in lines]


def not_found(order_id: str, buyer_id: str, payment_ref: str) -> Cart:
    return Cart(outcome=Outcome.NOT_FOUND, order_id=order_id, buyer_id=buyer_id, refund_payment_ref=payment_ref or None)


def _state(cart: CartRow) -> OrderState:
    return OrderState.HELD if cart.state == "open" else OrderState(cart.state)


def _outcome(cart: CartRow) -> Outcome:
    return Outcome(_state(cart))

"""What becomes of a step in an order's life, by the order's record: what step.lua decides on the shard, for orders
whose record has left it."""

from hotsku.domain.deduction import OrderState
from hotsku.domain.order import OrderRecord, StepVerb

_SOLD = (OrderState.CONFIRMED, OrderState.REFUNDED)


def judge(verb: StepVerb, argument: str | int, cart: bool, record: OrderRecord) -> str:
    """The code that step.lua has for it: A it would change the order, R it was done before, N the order's state does
    not allow it, X the order is a cart's line and the step is not for the cart (or the other way round; but lines are
    refunded by themselves), O it is confirmed by another payment, I more units than the order has."""
    if cart != record.cart and not (record.cart and verb is StepVerb.REFUND):
        return "X"
    if verb is StepVerb.CONFIRM:
        return _confirm(str(argument), record)
    if verb is StepVerb.REFUND:
        return _refund(int(argument), record)
    if record.state is OrderState.HELD:
        return "R" if verb is StepVerb.BEGIN_PAYMENT and record.paying else "A"
    return "R" if verb is StepVerb.RELEASE and record.state is OrderState.RELEASED else "N"


def _confirm(payment_ref: str, record: OrderRecord) -> str:
    if record.state is OrderState.HELD:
        return "A"
    if record.state in _SOLD and payment_ref in ("", record.payment_ref):
        return "R"
    if record.state is not OrderState.CONFIRMED:
        return "N"
    return "O" if record.payment_ref else "A"


def _refund(units: int, record: OrderRecord) -> str:
    if record.state not in _SOLD:
        return "N"
    total = units or record.quantity
    if total > record.quantity:
        return "I"
    return "R" if record.refunded >= total else "A"

"""An order and its steps as the ledger has them, and what each step makes of an order."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import Event, EventKind

# (buyer, order)
OrderKey = tuple[str, str]


class BookedOrder(Struct, frozen=True, kw_only=True):
    """An order as the ledger has it; times are milliseconds since the epoch, 0 is none.

    `born` is the kind of its birth, `partition`, `incarnation` and `seq` are that event's; `step_…` are those of its
    latest step. `attempt` counts how often the order began anew after it had ended.
    """

    item_id: int
    buyer_id: str
    order_id: str
    quantity: int
    state: str
    partition: int
    incarnation: int
    seq: int
    created_at: int
    born: str
    attempt: int = 1
    cart: bool = False
    paying: bool = False
    expires_at: int = 0
    refunded: int = 0
    step_incarnation: int = 0
    step_seq: int = 0
    step_at: int = 0
    payment_ref: str = ""
    metadata: str = ""


class BookedStep(Struct, frozen=True, kw_only=True):
    """An event that has a row of its own: all but an order's latest birth."""

    item_id: int
    partition: int
    incarnation: int
    seq: int
    kind: str
    buyer_id: str
    order_id: str
    quantity: int
    at: int
    expires_at: int = 0
    payment_ref: str = ""


def after_step(order: BookedOrder, event: Event) -> BookedOrder | None:
    """The order after an event that is no birth; None where its state does not allow it."""
    return _STEPS[event.kind](order, event)


def _confirm(order: BookedOrder, event: Event) -> BookedOrder | None:
    names_payment = order.state == OrderState.CONFIRMED and order.payment_ref in ("", event.payment_ref)
    if order.state != OrderState.HELD and not names_payment:
        return None
    return replace(order, state=OrderState.CONFIRMED.value, paying=False, payment_ref=event.payment_ref)


def _end(state: OrderState) -> "_Transition":
    def end(order: BookedOrder, _: Event) -> BookedOrder | None:
        return replace(order, state=state.value, paying=False) if order.state == OrderState.HELD else None

    return end


def _extend(order: BookedOrder, event: Event) -> BookedOrder | None:
    return replace(order, expires_at=event.expires_at) if order.state == OrderState.HELD else None


def _begin_payment(order: BookedOrder, event: Event) -> BookedOrder | None:
    extended = None if order.paying else _extend(order, event)
    return extended and replace(extended, paying=True)


def _refund(order: BookedOrder, event: Event) -> BookedOrder | None:
    refunded = order.refunded + event.quantity
    if order.state != OrderState.CONFIRMED or refunded > order.quantity:
        return None
    complete = refunded == order.quantity
    return replace(order, refunded=refunded, state=(OrderState.REFUNDED if complete else OrderState.CONFIRMED).value)


# The order after a step; None where its state does not allow it.
_Transition = Callable[[BookedOrder, Event], BookedOrder | None]

_STEPS: dict[EventKind, _Transition] = {
    EventKind.CONFIRMED: _confirm,
    EventKind.RELEASED: _end(OrderState.RELEASED),
    EventKind.EXPIRED: _end(OrderState.EXPIRED),
    EventKind.EXTENDED: _extend,
    EventKind.PAYMENT_BEGUN: _begin_payment,
    EventKind.REFUNDED: _refund,
}

"""What became of orders, told from the stream's events alone, as a subscriber would. Whatever cannot be is an error."""

from collections.abc import Sequence

from msgspec.structs import replace

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import BIRTHS, Event, EventKind
from hotsku.domain.order import OrderRecord
from hotsku.domain.routing import order_field

HELD, CONFIRMED, RELEASED, EXPIRED, REFUNDED = OrderState
ENDED = (RELEASED, EXPIRED)

# What an order may be when the event comes, and what it is then.
STEPS = {
    EventKind.PAYMENT_BEGUN: ([HELD], HELD),
    EventKind.EXTENDED: ([HELD], HELD),
    EventKind.CONFIRMED: ([HELD, CONFIRMED], CONFIRMED),
    EventKind.RELEASED: ([HELD], RELEASED),
    EventKind.EXPIRED: ([HELD], EXPIRED),
    EventKind.REFUNDED: ([CONFIRMED], CONFIRMED),
}


def replay(incarnation: int, events: Sequence[Event], records: dict[str, OrderRecord]) -> None:
    """Bring `records` up to date with the events that follow. A birth may follow an end: another attempt."""
    for event in events:
        name = order_field(event.order_id, event.buyer_id)
        known = records.get(name)
        if event.kind in BIRTHS:
            assert known is None or known.state in ENDED, "an order was sold twice"
            records[name] = _born(incarnation, event)
        else:
            assert known is not None
            records[name] = _stepped(incarnation, known, event)


def _born(incarnation: int, event: Event) -> OrderRecord:
    held = event.kind is EventKind.HELD
    return OrderRecord(
        event.quantity, incarnation, event.seq, event.at, held=held, state=HELD if held else CONFIRMED,
        cart=event.cart, expires_at_ms=event.expires_at, metadata=event.metadata,
    )  # fmt: skip


def _stepped(incarnation: int, known: OrderRecord, event: Event) -> OrderRecord:
    before, after = STEPS[event.kind]
    assert known.state in before, "two steps won"
    if event.kind is EventKind.EXPIRED:
        assert known.expires_at_ms <= event.at, "it expired too early"
        assert not known.cart, "time ended a cart's line"
    elif known.state is HELD and not known.cart:
        assert event.at < known.expires_at_ms, "a step won against a hold's end"
    refunded = known.refunded + (event.quantity if event.kind is EventKind.REFUNDED else 0)
    assert refunded <= known.quantity
    paying = after is HELD and (known.paying or event.kind is EventKind.PAYMENT_BEGUN)
    return replace(
        known, state=REFUNDED if refunded == known.quantity else after, paying=paying, refunded=refunded,
        expires_at_ms=event.expires_at or known.expires_at_ms, payment_ref=event.payment_ref or known.payment_ref,
        step_incarnation=incarnation, step_seq=event.seq, step_at_ms=event.at,
    )  # fmt: skip

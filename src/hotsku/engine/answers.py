"""From an order's record, on its shard or in the ledger, to what its caller hears."""

from collections.abc import Callable

from hotsku.domain.deduction import Deduction, OrderState, Outcome, Proof
from hotsku.domain.events import EventKind
from hotsku.domain.order import OrderRecord
from hotsku.domain.times import from_ms
from hotsku.ports import DetailRow


def birth_outcome(record: OrderRecord) -> Outcome:
    """How the order was answered when it was accepted."""
    return Outcome.HELD if record.held else Outcome.ACCEPTED


def told(
    record: OrderRecord,
    outcome: Outcome,
    *,
    sku: str,
    order_id: str,
    buyer_id: str,
    partition: int,
    now_ms: int,
    sign: Callable[[Deduction], str] | None,
    replayed: bool = False,
    refund_payment_ref: str | None = None,
) -> Deduction:
    """The answer about an order that has a record.

    Args:
        now_ms: the shard's clock, by which a hold's time may be over; 0 takes the record's state as it is.
        sign: signs its receipt; None where there are no keys.
        refund_payment_ref: a payment that came in vain.
    """
    return Deduction(
        outcome=outcome,
        state=record.state_at(now_ms),
        replayed=replayed,
        sku=sku,
        order_id=order_id,
        buyer_id=buyer_id,
        quantity=record.quantity,
        partition=partition,
        expires_at=from_ms(record.expires_at_ms),
        payment_ref=record.payment_ref or None,
        metadata=record.metadata,
        refunded=record.refunded,
        refund_payment_ref=refund_payment_ref,
        seq=record.seq,
        proof=Proof(record.incarnation, record.at_ms, sign),
    )


def record_of(row: DetailRow) -> OrderRecord:
    """A row of the ledger as the order's partition had it."""
    return OrderRecord(
        row.quantity,
        row.incarnation,
        row.seq,
        row.created_at_ms,
        held=row.born == EventKind.HELD,
        state=OrderState(row.state),
        paying=row.paying,
        cart=row.cart,
        expires_at_ms=row.expires_at_ms,
        refunded=row.refunded,
        step_incarnation=row.step_incarnation,
        step_seq=row.step_seq,
        step_at_ms=row.step_at_ms,
        payment_ref=row.payment_ref,
        metadata=row.metadata,
    )

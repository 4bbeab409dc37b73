"""Which events can be rows of the ledger."""

from hotsku.domain.events import BIRTHS, Event, EventKind
from hotsku.domain.identity import check_buyer_id, check_id, check_metadata, check_payment_ref, check_quantity
from hotsku.errors import InvalidRequest

MAX_TIME_MS = 10**14

_TIME = f"milliseconds from 0 to {MAX_TIME_MS}"


def fault(event: Event) -> str | None:
    """Why the event's detail cannot be a row, or None."""
    try:
        check_quantity(event.quantity)
        if event.kind is not EventKind.RETURNED:
            check_id("order_id", event.order_id)
            check_buyer_id(event.buyer_id)
        elif event.order_id or event.buyer_id:
            return "order_id must be empty where units are given back"
        if event.metadata and event.kind in BIRTHS:
            check_metadata(event.metadata)
        check_payment_ref(event.payment_ref or None)
    except InvalidRequest as error:
        return str(error)
    if not 0 <= event.expires_at <= MAX_TIME_MS:
        return f"expires_at must be {_TIME}"
    return None if 0 <= event.at <= MAX_TIME_MS else f"at must be {_TIME}"

"""Which events can be rows of the ledger."""

from hotsku.domain.events import Event, EventKind
from hotsku.domain.identity import check_buyer_id, check_id, check_quantity
from hotsku.errors import InvalidRequest

MAX_TIME_MS = 10**14


def fault(event: Event) -> str | None:
    """Why the event's detail cannot be a row, or None."""
    try:
        check_quantity(event.quantity)
        if event.kind is EventKind.DEDUCTED:
            check_id("order_id", event.order_id)
            check_buyer_id(event.buyer_id)
        elif event.order_id or event.buyer_id:
            return "order_id must be empty where units are given back"
    except InvalidRequest as error:
        return str(error)
    return None if 0 <= event.at <= MAX_TIME_MS else f"at must be milliseconds from 0 to {MAX_TIME_MS}"

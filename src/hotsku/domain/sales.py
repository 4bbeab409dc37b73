"""Messages that are sales and nothing else: nearly all of them in a rush, so they are read the quick way."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from hotsku.domain.events import Event, EventKind, Message, are_numbered
from hotsku.domain.identity import MAX_ID_LENGTH, MAX_QUANTITY, are_ids
from hotsku.domain.validity import MAX_TIME_MS, fault


class Sale(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A `deducted` event that can be a row of the ledger as it is. Without metadata, which has a column of its own."""

    seq: int
    kind: Literal["deducted"]
    quantity: Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
    at: Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
    order_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    buyer_id: Annotated[str, Meta(max_length=MAX_ID_LENGTH)] = ""


_decode = msgspec.json.Decoder(list[Sale]).decode


def sales_alone(message: Message) -> list[Sale] | None:
    """The message's events, if each is such a sale and they are numbered from `first_seq` to `last_seq`; else None.

    None says nothing of what is wrong: `decode_events` does.
    """
    try:
        sales = _decode(message.events)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    in_order = are_numbered(message, [sale.seq for sale in sales])
    return sales if in_order and are_ids([sale.order_id + sale.buyer_id for sale in sales]) else None


def sales_among(events: Iterable[Event]) -> tuple[list[Sale], list[Event]]:
    """Those events that are such sales, and all others."""
    sales: list[Sale] = []
    others: list[Event] = []
    for event in events:
        if event.kind is EventKind.DEDUCTED and not event.metadata and fault(event) is None:
            sales.append(Sale(event.seq, "deducted", event.quantity, event.at, event.order_id, event.buyer_id))
        else:
            others.append(event)
    return sales, others

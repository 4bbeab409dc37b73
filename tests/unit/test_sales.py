"""Messages of sales alone are read the quick way, and just those."""

import msgspec
import pytest
from msgspec import Raw
from tests.support.ledger import given_back, sale, sales

from hotsku.domain.events import Event, EventKind, Message, PartitionRef, decode_message, encode_message
from hotsku.domain.sales import Sale, sales_alone, sales_among
from hotsku.domain.validity import fault


def _message(*events: Event) -> Message:
    return decode_message(encode_message("ledger", "sku", PartitionRef(1, 0), 1, list(events)))


def _same(read: list[Sale], events: list[Event]) -> bool:
    told = [(each.seq, each.kind, each.quantity, each.at, each.order_id, each.buyer_id) for each in read]
    return told == [(each.seq, each.kind, each.quantity, each.at, each.order_id, each.buyer_id) for each in events]


def test_sales_are_read_as_they_are() -> None:
    events = [sale(7, "a-1", 3, "ann", at=5), sale(8, "x" * 64, 10**9, "y" * 64, at=0), sale(9, "._:@+=-")]
    read = sales_alone(_message(*events))
    assert read is not None
    assert _same(read, events)
    assert _same(sales_among(events)[0], events)


@pytest.mark.parametrize("character", [chr(code) for code in range(256)] + ["\u0130", "\U0001f600"])
def test_an_id_is_made_of_what_other_events_ids_are_made_of(character: str) -> None:
    for event in (sale(1, f"a{character}"), sale(1, buyer_id=f"{character}b")):
        assert (sales_alone(_message(event)) is None) == (fault(event) is not None)


@pytest.mark.parametrize(
    "event",
    [
        given_back(2, 3),
        sale(2, quantity=0),
        sale(2, quantity=10**9 + 1),
        sale(2, quantity=10**30),
        sale(2, ""),
        sale(2, "x" * 65),
        sale(2, buyer_id="x" * 65),
        sale(2, at=-1),
        sale(2, at=10**14 + 1),
        sale(3),
        Event(seq=2, kind=EventKind.HELD, quantity=1, at=5, order_id="o", expires_at=9),
        Event(seq=2, kind=EventKind.DEDUCTED, quantity=1, at=5, order_id="o", metadata="m"),
        Event(seq=2, kind=EventKind.DEDUCTED, quantity=1, at=5, order_id="o", payment_ref="p"),
    ],
)
def test_one_that_is_something_else_makes_the_message_another(event: Event) -> None:
    assert sales_alone(_message(sale(1), event)) is None


def test_a_message_may_claim_any_number_of_sales() -> None:
    assert sales_alone(msgspec.structs.replace(_message(*sales(1, 2)), last_seq=2**62)) is None


def test_what_is_no_event_is_no_sale() -> None:
    good = _message(*sales(1, 2))
    for events in (
        b"[]",
        b"[1]",
        b"{",
        b"\xff",
        b'[{"seq":1,"kind":"deducted","quantity":1,"at":1,"order_id":"\\ud800"}]',
    ):
        assert sales_alone(msgspec.structs.replace(good, events=Raw(events))) is None


def test_others_are_told_apart_from_sales() -> None:
    held = Event(seq=4, kind=EventKind.HELD, quantity=1, at=5, order_id="o", expires_at=9)
    noted = Event(seq=5, kind=EventKind.DEDUCTED, quantity=1, at=5, order_id="p", metadata="m")
    others = [given_back(2, 3), sale(3, "no id!"), held, noted]
    found, rest = sales_among([sale(1), *others])
    assert _same(found, [sale(1)])
    assert rest == others

"""Events, from the stream's entries to the message that carries them."""

from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_identity import ALPHABET

from hotsku.domain.events import (
    CorruptMessage,
    Event,
    EventKind,
    Message,
    PartitionRef,
    StreamEntry,
    decode_events,
    decode_message,
    encode_message,
)
from hotsku.domain.routing import order_field

REF = PartitionRef(17, 3)
AT = 1_700_000_000_000

ids = st.text(ALPHABET, min_size=1, max_size=64)
orders = st.tuples(ids, st.one_of(st.just(""), ids), st.integers(1, 10**9))


def sold(seq: int, order_id: str = "o-1", quantity: int = 1, buyer_id: str = "") -> Event:
    return Event(seq=seq, kind=EventKind.DEDUCTED, quantity=quantity, at=AT + seq, order_id=order_id, buyer_id=buyer_id)


def returned(seq: int, quantity: int) -> Event:
    return Event(seq=seq, kind=EventKind.RETURNED, quantity=quantity, at=AT + seq)


def encoded(events: list[Event]) -> bytes:
    return encode_message("ledger-1", "sneaker-42", REF, 2, events)


def rewritten(body: bytes, **changes: object) -> bytes:
    """The message with other fields, checksum untouched."""
    return msgspec.json.encode(msgspec.json.decode(body) | changes)


# --- entries of the stream ---


@given(st.lists(orders, min_size=1, max_size=20), st.integers(0, 10**12))
def test_an_entry_of_sales_has_one_event_an_order(batch: list[tuple[str, str, int]], before: int) -> None:
    values = [value for order_id, buyer_id, quantity in batch for value in (order_field(order_id, buyer_id), quantity)]
    entry = StreamEntry(4, before + len(batch), EventKind.DEDUCTED, AT, msgspec.msgpack.encode(values))
    events = entry.events()
    assert [event.seq for event in events] == list(range(before + 1, before + len(batch) + 1))
    assert [(event.order_id, event.buyer_id, event.quantity) for event in events] == batch
    assert {(event.kind, event.at) for event in events} == {(EventKind.DEDUCTED, AT)}


def test_an_entry_of_returned_units_is_one_event() -> None:
    entry = StreamEntry(4, 9, EventKind.RETURNED, AT, msgspec.msgpack.encode([250]))
    assert entry.events() == [Event(seq=9, kind=EventKind.RETURNED, quantity=250, at=AT)]


_mixed = st.tuples(
    st.sampled_from([kind for kind in EventKind if kind is not EventKind.RETURNED]),
    ids,
    st.one_of(st.just(""), ids),
    st.integers(1, 10**9),
    st.integers(0, 10**14),
    st.text(max_size=9),
    st.text(max_size=9),
    st.booleans(),
)


@given(st.lists(_mixed, min_size=1, max_size=20), st.integers(0, 10**12))
def test_an_entry_of_other_events_says_the_kind_of_each(
    batch: list[tuple[EventKind, str, str, int, int, str, str, bool]], before: int
) -> None:
    rows = [
        (kind, order_field(order, buyer), units, expires_at, ref, metadata, int(cart))
        for kind, order, buyer, units, expires_at, ref, metadata, cart in batch
    ]
    events = StreamEntry(4, before + len(batch), "mixed", AT, msgspec.msgpack.encode(rows)).events()
    assert [event.seq for event in events] == list(range(before + 1, before + len(batch) + 1))
    assert [
        (e.kind, e.order_id, e.buyer_id, e.quantity, e.expires_at, e.payment_ref, e.metadata, e.cart) for e in events
    ] == batch
    assert decode_events(decode_message(encode_message("ledger-1", "sneaker-42", REF, 4, events))) == events


# --- messages ---


@given(
    st.lists(st.one_of(orders, st.integers(1, 10**9)), min_size=1, max_size=20),
    st.integers(1, 10**12),
    st.integers(1, 10**6),
)
def test_a_message_is_read_as_it_was_written(
    batch: list[tuple[str, str, int] | int], first: int, incarnation: int
) -> None:
    events = [
        returned(seq, one) if isinstance(one, int) else sold(seq, one[0], one[2], one[1])
        for seq, one in enumerate(batch, first)
    ]
    message = decode_message(encode_message("ledger-1", "sneaker-42", REF, incarnation, events))
    assert decode_events(message) == events
    assert (message.version, message.ledger_id, message.sku) == (1, "ledger-1", "sneaker-42")
    assert (message.ref, message.incarnation) == (REF, incarnation)
    assert (message.first_seq, message.last_seq) == (first, first + len(batch) - 1)


def test_a_message_is_json_that_a_stranger_can_read() -> None:
    body = encoded([sold(5, "o-1", 2, "u-7"), returned(6, 40)])
    shown = msgspec.json.decode(body)
    assert shown == {
        "version": 1,
        "ledger_id": "ledger-1",
        "item_id": 17,
        "sku": "sneaker-42",
        "partition": 3,
        "incarnation": 2,
        "first_seq": 5,
        "last_seq": 6,
        "crc32": shown["crc32"],
        "events": [
            {"seq": 5, "kind": "deducted", "quantity": 2, "at": AT + 5, "order_id": "o-1", "buyer_id": "u-7"},
            {"seq": 6, "kind": "returned", "quantity": 40, "at": AT + 6},
        ],
    }
    raw = body[body.index(b'"events":') + len(b'"events":') : -1]
    assert shown["crc32"] == crc32(b"ledger-1 sneaker-42 17 3 2 5 6 " + raw)


def test_every_corrupt_byte_is_seen() -> None:
    body = encoded([sold(9, "o-1", 2, "u-7"), sold(10, "o-2", 1), returned(11, 40)])
    original = decode_message(body)
    for at in range(len(body)):
        for value in {body[at] ^ (1 << bit) for bit in range(8)} | {*b' 019"-{', 0}:
            assert seen_or_harmless(body[:at] + bytes([value]) + body[at + 1 :], original), (at, value)


@given(st.data())
def test_every_cut_and_every_insertion_is_seen(data: st.DataObject) -> None:
    body = encoded([sold(9, "o-1", 2, "u-7"), sold(10, "o-2", 1)])
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    assert seen_or_harmless(body[:start] + data.draw(st.binary(max_size=4)) + body[end:], decode_message(body))


@pytest.mark.parametrize(
    "change",
    [
        {"ledger_id": "ledger-2"},
        {"sku": "sneaker-43"},
        {"item_id": 18},
        {"partition": 4},
        {"incarnation": 1},
        {"first_seq": 6},
        {"last_seq": 4},
        {"crc32": 0},
        {"events": []},
    ],
    ids=repr,
)
def test_a_message_that_says_something_else_is_corrupt(change: dict[str, object]) -> None:
    with pytest.raises(CorruptMessage, match="checksum"):
        decode_message(rewritten(encoded([sold(5)]), **change))


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_version_is_refused_by_its_number(version: int) -> None:
    with pytest.raises(CorruptMessage, match=f"version {version}, not 1"):
        decode_message(rewritten(encoded([sold(5)]), version=version))


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"version":1}', b"0" * 100, b"[" * 100])
def test_what_is_no_message_is_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptMessage):
        decode_message(body)


@pytest.mark.parametrize(
    "seqs", [[1, 3], [1, 1], [2, 1], [1, 2, 4], [1, 3, 2, 4], [1, 1, 3]], ids=lambda seqs: "-".join(map(str, seqs))
)
def test_events_that_are_not_numbered_one_by_one_are_corrupt(seqs: list[int]) -> None:
    message = decode_message(encoded([sold(seq) for seq in seqs]))
    with pytest.raises(CorruptMessage, match="numbered"):
        decode_events(message)


def test_a_message_may_claim_any_number_of_events() -> None:
    """Without the memory that so many would take."""
    message = msgspec.structs.replace(decode_message(encoded([sold(1)])), last_seq=2**62)
    with pytest.raises(CorruptMessage, match="numbered"):
        decode_events(message)


EVENT = '{"seq":1,"kind":"%s","quantity":1,"at":1,"order_id":"%s"}'
NO_EVENTS = [b"", b"{}", b"[1]", b'[{"seq":1}]', f"[{EVENT % ('gone', '')}]".encode()]


@pytest.mark.parametrize("raw", [*NO_EVENTS, f"[{EVENT % ('deducted', 'é')}]".encode("latin-1")])
def test_events_that_are_none_are_corrupt(raw: bytes) -> None:
    message = msgspec.structs.replace(decode_message(encoded([sold(1)])), events=msgspec.Raw(raw))
    with pytest.raises(CorruptMessage):
        decode_events(message)


def seen_or_harmless(body: bytes, original: Message) -> bool:
    """Is a changed message refused, or read as the original?"""
    try:
        message = decode_message(body)
    except CorruptMessage:
        return True
    return shown(message) == shown(original)


def shown(message: Message) -> tuple[object, ...]:
    fields = [getattr(message, name) for name in Message.__struct_fields__ if name != "events"]
    return (*fields, decode_events(message))

"""Events, and the message that carries a partition's next events to the ledger and to every subscriber.

A message is one JSON object (`version` 1). `events` is kept as the raw JSON text, so that the ledger can hand it to SQL
as it is. `crc32` is the CRC-32 of the words `ledger_id sku item_id partition incarnation first_seq last_seq`, each with
a space behind it, and exactly the bytes of `events`: a message that names another partition is as corrupt as any.
"""

from collections.abc import Sequence
from enum import StrEnum
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from hotsku.domain.routing import split_field

MESSAGE_VERSION = 1


class PartitionRef(Struct, frozen=True, order=True):
    """Names one partition of one item."""

    item_id: int
    partition: int


class EventKind(StrEnum):
    """What an event says."""

    DEDUCTED = "deducted"
    HELD = "held"
    PAYMENT_BEGUN = "payment_begun"
    CONFIRMED = "confirmed"
    EXTENDED = "extended"
    RELEASED = "released"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    RETURNED = "returned"


# The events that an order begins with.
BIRTHS = frozenset({EventKind.DEDUCTED, EventKind.HELD})
# The events that give an order's units back, straight to the pool.
GIVE_BACKS = frozenset({EventKind.RELEASED, EventKind.EXPIRED, EventKind.REFUNDED})


class Event(Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One numbered entry of a partition's stream. Times are the shard's clock in milliseconds since the epoch.

    `quantity` is the order's; of `refunded`, the units that this step gave back. A `returned` event (units that a
    partition gave back unsold) has neither order nor buyer. `expires_at` is there on `held`, `payment_begun` and
    `extended`; `payment_ref` on `confirmed` where there is one; `metadata` on `deducted` and `held`, and `cart` on
    a `held` that is a cart's line.
    """

    seq: int
    kind: EventKind
    quantity: int
    at: int
    order_id: str = ""
    buyer_id: str = ""
    expires_at: int = 0
    payment_ref: str = ""
    metadata: str = ""
    cart: bool = False


# Looked up once, as an enum finds its members slowly.
_DEDUCTED = EventKind.DEDUCTED

# The kind of a stream entry whose events each name their own.
MIXED = "mixed"


class StreamEntry(Struct, frozen=True):
    """One entry of a partition's stream as the shard keeps it: the events of one batch.

    `kind` is `deducted`, `returned` or `mixed`. `payload` is msgpack: a flat array of (order field, quantity) for
    `deducted`, of (quantity,) for `returned`; for `mixed` an array of arrays (kind, order field, quantity, expires at,
    payment reference, metadata, 1 for a cart's line else 0).
    """

    incarnation: int
    last_seq: int
    kind: str
    at: int
    payload: bytes

    def events(self) -> list[Event]:
        """The entry's events, in order."""
        if self.kind == MIXED:
            return self._mixed()
        values = _unpack(self.payload)
        at = self.at
        if self.kind == EventKind.RETURNED:
            return [Event(seq=self.last_seq, kind=EventKind.RETURNED, quantity=int(values[0]), at=at)]
        seq = self.last_seq - len(values) // 2
        events = []
        for field, quantity in zip(values[::2], values[1::2], strict=True):
            seq += 1
            order_id, buyer_id = split_field(str(field))
            events.append(
                Event(seq=seq, kind=_DEDUCTED, quantity=int(quantity), at=at, order_id=order_id, buyer_id=buyer_id)
            )
        return events

    def _mixed(self) -> list[Event]:
        rows = _unpack_mixed(self.payload)
        first = self.last_seq - len(rows) + 1
        events = []
        for i, (kind, field, quantity, expires_at, payment_ref, metadata, cart) in enumerate(rows):
            order_id, buyer_id = split_field(field)
            events.append(
                Event(
                    seq=first + i,
                    kind=kind,
                    quantity=quantity,
                    at=self.at,
                    order_id=order_id,
                    buyer_id=buyer_id,
                    expires_at=expires_at,
                    payment_ref=payment_ref,
                    metadata=metadata,
                    cart=cart == 1,
                )
            )
        return events


class Message(Struct, frozen=True, kw_only=True):
    """What travels through the broker."""

    version: int
    ledger_id: str
    item_id: int
    sku: str
    partition: int
    incarnation: int
    first_seq: int
    last_seq: int
    crc32: int
    events: Raw

    @property
    def ref(self) -> PartitionRef:
        return PartitionRef(self.item_id, self.partition)


class CorruptMessage(ValueError):
    """The bytes are not a message, or not the bytes that were sent."""


# Bytes that are no UTF-8 are not an error of msgspec's own.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)

_unpack = msgspec.msgpack.Decoder(list[str | int]).decode
_unpack_mixed = msgspec.msgpack.Decoder(list[tuple[EventKind, str, int, int, str, str, int]]).decode
_encoder = msgspec.json.Encoder()
_decode_message = msgspec.json.Decoder(Message).decode
_decode_events = msgspec.json.Decoder(list[Event]).decode


def encode_message(ledger_id: str, sku: str, ref: PartitionRef, incarnation: int, events: Sequence[Event]) -> bytes:
    """The message that carries `events`, which are consecutive and at least one."""
    message = Message(
        version=MESSAGE_VERSION,
        ledger_id=ledger_id,
        item_id=ref.item_id,
        sku=sku,
        partition=ref.partition,
        incarnation=incarnation,
        first_seq=events[0].seq,
        last_seq=events[-1].seq,
        crc32=0,
        events=Raw(_encoder.encode(events)),
    )
    return _encoder.encode(msgspec.structs.replace(message, crc32=_checksum(message)))


def decode_message(body: bytes) -> Message:
    """The message in `body`.

    Raises:
        CorruptMessage: it is none, of another version, or its checksum does not hold.
    """
    try:
        message = _decode_message(body)
    except _UNREADABLE as error:
        raise CorruptMessage(str(error)) from error
    if message.version != MESSAGE_VERSION:
        raise CorruptMessage(f"version {message.version}, not {MESSAGE_VERSION}")
    if message.crc32 != _checksum(message):
        raise CorruptMessage("the checksum does not hold")
    return message


def decode_events(message: Message) -> list[Event]:
    """The message's events, checked to be numbered from `first_seq` to `last_seq` without a gap.

    Raises:
        CorruptMessage: they are not.
    """
    try:
        events = _decode_events(message.events)
    except _UNREADABLE as error:
        raise CorruptMessage(str(error)) from error
    if not are_numbered(message, [event.seq for event in events]):
        raise CorruptMessage("the events are not numbered from first_seq to last_seq")
    return events


def are_numbered(message: Message, seqs: Sequence[int]) -> bool:
    """Whether these are the message's numbers, from `first_seq` to `last_seq`, which may be anything."""
    if len(seqs) != message.last_seq - message.first_seq + 1:  # a range of all numbers would fill the memory
        return False
    return list(seqs) == list(range(message.first_seq, message.last_seq + 1))


def _checksum(message: Message) -> int:
    m = message
    head = f"{m.ledger_id} {m.sku} {m.item_id} {m.partition} {m.incarnation} {m.first_seq} {m.last_seq} "
    return crc32(bytes(m.events), crc32(head.encode()))

"""What cannot be applied is parked with its reason, once, until a person has resolved it."""

from hashlib import sha256

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert

from hotsku.domain.events import Event, Message
from hotsku.ledger.tables import parked

_REASON_LENGTH = 200


def park(connection: Connection, body: bytes, reason: str, now_ms: int) -> None:
    """Park a message that belongs to no partition of this ledger."""
    _park(connection, body, sha256(body).hexdigest(), reason, now_ms, {})


def park_detail(connection: Connection, message: Message, event: Event, body: bytes, reason: str, now_ms: int) -> None:
    """Park the detail of an event whose figures have been applied. `body` is the event as JSON."""
    place = {
        "item_id": message.item_id,
        "partition": message.partition,
        "incarnation": message.incarnation,
        "seq": event.seq,
    }
    digest = sha256(f"{sorted(place.items())}".encode() + body).hexdigest()
    _park(connection, body, digest, reason, now_ms, place)


def _park(connection: Connection, body: bytes, digest: str, reason: str, now_ms: int, place: dict[str, int]) -> None:
    values = {"reason": reason[:_REASON_LENGTH], "body": body, "digest": digest, "at": now_ms}
    connection.execute(insert(parked).values(values | place).on_conflict_do_nothing(index_elements=["digest"]))

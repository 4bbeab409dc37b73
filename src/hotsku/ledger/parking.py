"""What cannot be applied is parked with its reason, once, until a person has resolved it."""

from hashlib import sha256

from sqlalchemy import Connection

from hotsku.domain.events import Event, Message
from hotsku.ledger.dialect import Dialect

_REASON_LENGTH = 200


def park(connection: Connection, dialect: Dialect, body: bytes, reason: str, now_ms: int) -> None:
    """Park a message that belongs to no partition of this ledger."""
    _park(connection, dialect, body, sha256(body).hexdigest(), reason, now_ms, {})


def park_detail(
    connection: Connection, dialect: Dialect, message: Message, event: Event, body: bytes, reason: str, now_ms: int
) -> None:
    """Park the detail of an event whose figures have been applied. `body` is the event as JSON."""
    place = {
        "item_id": message.item_id,
        "partition": message.partition,
        "incarnation": message.incarnation,
        "seq": event.seq,
    }
    digest = sha256(f"{sorted(place.items())}".encode() + body).hexdigest()
    _park(connection, dialect, body, digest, reason, now_ms, place)


def _park(
    connection: Connection,
    dialect: Dialect,
    body: bytes,
    digest: str,
    reason: str,
    now_ms: int,
    place: dict[str, int],
) -> None:
    # A reason may quote what a stranger sent, and not every database has text for every character.
    shown = reason.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")[:_REASON_LENGTH]
    dialect.insert_parked(connection, {"reason": shown, "body": body, "digest": digest, "at": now_ms, **place})

"""Times as people have them (timezone-aware, in UTC) and as shards and ledger do (milliseconds since the epoch)."""

from datetime import UTC, datetime

from hotsku.errors import InvalidRequest

# Shards have 0 for "no limit", so that a sale cannot open or close then.
_EPOCH = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def to_ms(field: str, value: object) -> int | None:
    """Milliseconds since the epoch of a timezone-aware time; None for None.

    Raises:
        InvalidRequest: `value` is naive, not after 1970, or no time at all; the error names `field`.
    """
    if value is None:
        return None
    if type(value) is not datetime or value.utcoffset() is None or value <= _EPOCH:
        raise InvalidRequest(field, "a timezone-aware datetime after 1970")
    return int(value.timestamp() * 1000)


def from_ms(value: int | None) -> datetime | None:
    """The time in UTC; None where there is none: None or 0."""
    return time_of(value) if value else None


def time_of(ms: int) -> datetime:
    """The time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)

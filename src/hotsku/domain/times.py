"""Times as people have them (timezone-aware, in UTC) and as shards and ledger do (milliseconds since the epoch)."""

from datetime import UTC, datetime, timedelta

from hotsku.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Shards have 0 for "no limit", so that a sale cannot open or close then.
_FIRST = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
# With an offset a time may be in a year that UTC's calendar does not have: it could not be told again.
_END = datetime(9999, 1, 1, tzinfo=UTC)

TIME_ALLOWED = "a timezone-aware datetime after 1970 and before 9999"


def to_ms(field: str, value: object) -> int | None:
    """Milliseconds since the epoch of a timezone-aware time; None for None.

    Raises:
        InvalidRequest: `value` is naive, not within these years, or no time at all; the error names `field`.
    """
    if value is None:
        return None
    if type(value) is not datetime or value.utcoffset() is None or not _FIRST < value < _END:
        raise InvalidRequest(field, TIME_ALLOWED)
    return (value - _EPOCH) // timedelta(milliseconds=1)


def from_ms(value: int | None) -> datetime | None:
    """The time in UTC; None where there is none: None or 0."""
    return time_of(value) if value else None


def time_of(ms: int) -> datetime:
    """The time in UTC."""
    return _EPOCH + timedelta(milliseconds=ms)

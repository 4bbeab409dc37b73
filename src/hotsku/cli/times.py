"""Times as people and logs write them."""

import re
from datetime import UTC, datetime

RFC_3339 = "a time like 2026-11-27T20:00:00Z, with its offset"

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")
_NUMBER = re.compile(r"\d{1,16}(\.\d{1,9})?")

# Seconds of the year 5138; milliseconds of the spring of 1973. What is above counts milliseconds.
_MOST_SECONDS = 100_000_000_000


def parse_rfc3339(text: str) -> datetime:
    """The time, timezone-aware.

    Raises:
        ValueError: it is no RFC 3339 time, or has no offset.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text.replace("z", "Z"))


def parse_log_ms(value: object) -> int:
    """Milliseconds since the epoch: of an RFC 3339 time, or of a number of seconds or milliseconds since the epoch.

    Raises:
        ValueError: it is neither.
    """
    if type(value) is str and not _NUMBER.fullmatch(value):
        return round(parse_rfc3339(value).timestamp() * 1000)
    if type(value) not in (str, int, float):
        raise ValueError(value)
    number = float(str(value))
    if not 0 <= number < _MOST_SECONDS * 1000:
        raise ValueError(value)
    return round(number if number >= _MOST_SECONDS else number * 1000)


def clock_text(at_ms: int) -> str:
    """A time for people, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")

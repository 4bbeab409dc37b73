"""Times that come in, and go out again."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.times import from_ms, to_ms
from hotsku.errors import InvalidRequest

FIRST_MS, END_MS = 1_001, 253_370_764_800_000
OFFSETS = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)


@given(st.integers(FIRST_MS, END_MS - 1), OFFSETS)
def test_a_time_is_told_as_it_was_given(ms: int, offset: timezone) -> None:
    given_time = from_ms(ms)
    assert given_time is not None
    assert to_ms("opens_at", given_time.astimezone(offset)) == ms


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 27, 20, tzinfo=UTC).replace(tzinfo=None),
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        # In UTC it is in the year 10000.
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
        "2026-11-27T20:00:00Z",
        1_795_809_600_000,
    ],
    ids=repr,
)
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(InvalidRequest, match="opens_at must be a timezone-aware datetime after 1970 and before 9999"):
        to_ms("opens_at", value)

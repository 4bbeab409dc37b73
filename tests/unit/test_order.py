"""Records of orders, as text and back; the scripts' own writing is compared in tests/lua."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.deduction import OrderState
from hotsku.domain.order import OrderRecord, format_record, parse_record

numbers = st.integers(0, 10**14 - 1)
words = st.text(st.characters(codec="utf-8"), max_size=64)
records = st.builds(
    OrderRecord,
    st.integers(1, 10**9),
    numbers,
    numbers,
    numbers,
    held=st.booleans(),
    state=st.sampled_from(OrderState),
    paying=st.booleans(),
    cart=st.booleans(),
    expires_at_ms=numbers,
    refunded=numbers,
    step_incarnation=numbers,
    step_seq=numbers,
    step_at_ms=numbers,
    payment_ref=words,
    metadata=words,
)


@given(record=records)
def test_any_record_comes_back(record: OrderRecord) -> None:
    assert parse_record(format_record(record)) == record


@given(record=records)
def test_a_text_has_one_writing(record: OrderRecord) -> None:
    text = format_record(record)
    assert format_record(parse_record(text)) == text


def test_a_plain_deduction_is_short() -> None:
    record = OrderRecord(2, 1, 7, 1_700_000_000_000)
    assert format_record(record) == b"d:2:1:7:1700000000000"
    assert parse_record(b"d:2:1:7:1700000000000") == record


def test_every_part_has_its_place() -> None:
    record = OrderRecord(
        5, 2, 3, 4, held=True, state=OrderState.REFUNDED, paying=True, cart=True, expires_at_ms=6, refunded=5,
        step_incarnation=8, step_seq=9, step_at_ms=10, payment_ref="é:1", metadata="a:b",
    )  # fmt: skip
    assert format_record(record) == "h:5:2:3:4:f:3:6:5:8:9:10:4:é:1a:b".encode()


@pytest.mark.parametrize(
    ("payment_ref", "metadata"),
    [("", ""), ("", "m"), ("p", ""), (":", ":"), ("1:2:3", "d:1:1:1:1"), ("é\0\n", "%d+ 漢"), ("p" * 128, "m" * 256)],
)
def test_words_that_look_like_parts_of_a_record(payment_ref: str, metadata: str) -> None:
    for held in (False, True):
        record = OrderRecord(1, 1, 1, 1, held=held, payment_ref=payment_ref, metadata=metadata)
        assert parse_record(format_record(record)) == record


@pytest.mark.parametrize(
    "changed",
    [
        {"held": True}, {"state": OrderState.REFUNDED}, {"paying": True}, {"cart": True}, {"expires_at_ms": 1},
        {"refunded": 1}, {"step_seq": 1}, {"payment_ref": "p"}, {"metadata": "m"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_more_than_a_plain_deduction_has_a_tail(changed: dict[str, object]) -> None:
    record = OrderRecord(1, 1, 1, 1, **changed)  # type: ignore[arg-type]
    assert len(format_record(record).split(b":")) > 5
    assert parse_record(format_record(record)) == record


@pytest.mark.parametrize("text", [b"", b"d", b"d:1:1:1", b"d:x:1:1:1", b"d:1:1:1:1:c", b"h:1:1:1:1:z:0:0:0:0:0:0:0:"])
def test_what_is_no_record_is_no_record(text: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_record(text)


@pytest.mark.parametrize("state", OrderState)
def test_the_state_that_the_next_step_finds(state: OrderState) -> None:
    record = OrderRecord(1, 1, 1, 1, held=True, state=state, expires_at_ms=1_000)
    assert record.state_at(999) is state
    for now_ms in (1_000, 1_001):
        expected = OrderState.EXPIRED if state is OrderState.HELD else state
        assert record.state_at(now_ms) is expected


def test_the_time_of_a_carts_line_is_its_carts_matter() -> None:
    record = OrderRecord(1, 1, 1, 1, held=True, state=OrderState.HELD, cart=True, expires_at_ms=1_000)
    assert record.state_at(2_000) is OrderState.HELD

"""Bad ids, quantities and the rest of an order: one clear line that names the field."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.identity import (
    MAX_ID_LENGTH,
    MAX_METADATA_BYTES,
    MAX_QUANTITY,
    MAX_TTL_MS,
    are_ids,
    check_buyer_id,
    check_id,
    check_metadata,
    check_order,
    check_payment_ref,
    check_quantity,
    check_ttl,
    has_shape,
)
from hotsku.errors import InvalidRequest

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+=-"

BAD_QUANTITIES = [
    0,
    -1,
    1.5,
    1.0,
    True,
    False,
    float("nan"),
    float("inf"),
    "3",
    10**9 + 1,
    10**12,
    -(10**12),
    None,
    [1],
]

BAD_IDS = {
    "too long": "x" * (MAX_ID_LENGTH + 1),
    "far too long": "x" * 1_000_000,
    "braces": "a{b}",
    "a space": "a b",
    "a newline": "a\nb",
    "a newline at the end": "a\n",
    "a carriage return": "a\r",
    "another line end": "a\u2028b",
    "a tab": "a\t",
    "an emoji": "👟",
    "an accent": "é",
    "digits of another script": "٣",
    "full width": "\uff41",
    "NUL": "a\0",
    "a lone surrogate": "\ud800",
    "a slash": "a/b",
    "a quote": "a'b",
    "bytes": b"abc",
    "a number": 3,
    "True": True,
    "None": None,
    "a list": ["a"],
}


class _Text(str):
    """A string that could lie about itself."""

    __slots__ = ()


@pytest.mark.parametrize("value", BAD_QUANTITIES, ids=repr)
@pytest.mark.parametrize("field", ["quantity", "total"])
def test_a_bad_quantity_is_refused(value: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_quantity(value, field)
    assert_one_line_about(caught.value, field)
    assert "an integer from 1 to 1000000000" in str(caught.value)


def test_an_integer_of_a_class_of_its_own_is_no_quantity() -> None:
    class Cheap(int):
        pass

    with pytest.raises(InvalidRequest, match=r"^quantity must be"):
        check_quantity(Cheap(3))


@pytest.mark.parametrize("value", [1, 2, 999_999_999, MAX_QUANTITY])
def test_a_good_quantity_is_given_back(value: int) -> None:
    assert check_quantity(value) == value


@pytest.mark.parametrize("value", ["", *BAD_IDS.values()], ids=["empty", *BAD_IDS])
@pytest.mark.parametrize("field", ["sku", "order_id"])
def test_a_bad_id_is_refused(value: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_id(field, value)
    assert_one_line_about(caught.value, field)


@pytest.mark.parametrize("value", BAD_IDS.values(), ids=list(BAD_IDS))
def test_a_bad_buyer_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_buyer_id(value)
    assert_one_line_about(caught.value, "buyer_id")


def test_a_buyer_may_be_empty() -> None:
    assert check_buyer_id("") == ""


@pytest.mark.parametrize("value", [0, False, None, b"", [], ()], ids=repr)
def test_what_is_merely_falsy_is_no_empty_buyer(value: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^buyer_id must be"):
        check_buyer_id(value)


def test_a_string_of_a_class_of_its_own_is_no_id() -> None:
    with pytest.raises(InvalidRequest, match=r"^sku must be"):
        check_id("sku", _Text("a"))


@given(st.text(ALPHABET, min_size=1, max_size=MAX_ID_LENGTH))
def test_every_id_of_the_allowed_set_is_given_back(value: str) -> None:
    assert check_id("sku", value) == value
    assert check_buyer_id(value) == value


@given(st.text(min_size=1, max_size=MAX_ID_LENGTH).filter(lambda text: not set(text) <= set(ALPHABET)))
def test_every_other_text_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_id("sku", value)
    assert_one_line_about(caught.value, "sku")


@given(st.text(max_size=300))
def test_metadata_is_any_text_that_fits(value: str) -> None:
    try:
        fits = len(value.encode()) <= MAX_METADATA_BYTES and "\0" not in value
    except UnicodeEncodeError:
        fits = False
    if fits:
        assert check_metadata(value) == value
        return
    with pytest.raises(InvalidRequest) as caught:
        check_metadata(value)
    assert_one_line_about(caught.value, "metadata")


@pytest.mark.parametrize("value", ["x" * 257, "é" * 129, "👟" * 65, "a\0", "\ud800", None, b"x", 3, True, ["x"]])
def test_bad_metadata_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_metadata(value)
    assert_one_line_about(caught.value, "metadata")


@pytest.mark.parametrize("value", ["", "x" * 256, "é" * 128, "👟" * 64, "a\nb", '{"seat": 4}'])
def test_good_metadata_is_given_back(value: str) -> None:
    assert check_metadata(value) == value


def test_a_payment_may_have_no_name() -> None:
    assert check_payment_ref(None) == ""
    assert check_payment_ref("p" * 128) == "p" * 128


@pytest.mark.parametrize(
    "value", ["", "x" * 129, *(bad for bad in BAD_IDS.values() if bad is not None and bad != "x" * 65)]
)
def test_a_bad_payment_ref_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_payment_ref(value)
    assert_one_line_about(caught.value, "payment_ref")


def test_a_ttl_is_milliseconds() -> None:
    assert check_ttl(timedelta(milliseconds=1, microseconds=999)) == 1
    assert check_ttl(timedelta(minutes=15)) == 900_000
    assert check_ttl(timedelta(milliseconds=MAX_TTL_MS - 1)) == MAX_TTL_MS - 1


BAD_TTLS: list[Any] = [
    timedelta(0),
    timedelta(microseconds=999),
    timedelta(microseconds=-1),
    timedelta(milliseconds=MAX_TTL_MS),
    timedelta.max,
    timedelta.min,
    None,
    900,
    1.5,
    "PT1M",
    True,
]


@pytest.mark.parametrize("value", BAD_TTLS, ids=repr)
def test_a_bad_ttl_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_ttl(value, "hold_ttl")
    assert_one_line_about(caught.value, "hold_ttl")


def test_a_quantity_of_more_digits_than_can_be_said_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_quantity(10**5000)
    assert_one_line_about(caught.value, "quantity")


def assert_one_line_about(error: InvalidRequest, field: str) -> None:
    text = str(error)
    assert error.field == field
    assert text.startswith(f"{field} must be ")
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200


@pytest.mark.parametrize("texts", [[], ["a", ""], ["a-b", "c"], ["x" * 64] * 100])
def test_many_ids_at_once(texts: list[str]) -> None:
    assert are_ids(texts)


@pytest.mark.parametrize("wrong", [" ", "a b", "é", "²", "\n", "a\ud800", "a\0"])
def test_one_wrong_id_among_many(wrong: str) -> None:
    assert not are_ids(["a", "b-c", wrong, "d"])


ORDERS: list[tuple[object, object, object]] = [
    ("o", "", 1),
    ("o" * 64, "b" * 64, MAX_QUANTITY),
    ("o", "b", 0),
    ("o", "b", MAX_QUANTITY + 1),
    ("o", "b", True),
    ("o", "b", 1.0),
    ("o", "b", "1"),
    ("", "b", 1),
    ("o" * 65, "b", 1),
    ("o", "b" * 65, 1),
    ("o b", "b", 1),
    ("o", "\udc80", 1),
    (b"o", "b", 1),
    ("o", None, 1),
]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_the_shape_and_the_characters_are_all_that_is_checked(order: tuple[object, object, object]) -> None:
    good = True
    try:
        check_order(*order)
    except InvalidRequest:
        good = False
    assert (has_shape(*order) and are_ids([str(order[0]), str(order[1])])) is good

"""Bad ids and quantities: one clear line that names the field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.identity import MAX_ID_LENGTH, MAX_QUANTITY, check_buyer_id, check_id, check_quantity
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


def assert_one_line_about(error: InvalidRequest, field: str) -> None:
    text = str(error)
    assert error.field == field
    assert text.startswith(f"{field} must be ")
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200

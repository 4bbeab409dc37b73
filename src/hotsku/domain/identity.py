"""What a SKU, an order id, a buyer id and a quantity may be."""

import re

from hotsku.errors import InvalidRequest

MAX_QUANTITY = 1_000_000_000
MAX_ID_LENGTH = 64

_ID = re.compile(r"[A-Za-z0-9._:@+=-]{1,64}")
_CHARACTERS = re.compile(r"[A-Za-z0-9._:@+=-]+")
_ID_ALLOWED = "1 to 64 characters of A-Z a-z 0-9 . _ : @ + = -"


def check_id(field: str, value: object) -> str:
    """Return `value` if it is a well-formed id.

    Raises:
        InvalidRequest: it is not; the error names `field`.
    """
    if type(value) is str and _ID.fullmatch(value):
        return value
    raise InvalidRequest(field, f"{_ID_ALLOWED}, not {_shown(value)}")


def check_order_ids(order_id: object, buyer_id: object) -> None:
    """`check_id` for an order and `check_buyer_id` for its buyer in one look: every request passes here.

    Raises:
        InvalidRequest: one of them is not well-formed.
    """
    if (
        type(order_id) is not str
        or type(buyer_id) is not str
        or not 0 < len(order_id) <= MAX_ID_LENGTH
        or len(buyer_id) > MAX_ID_LENGTH
        or not _CHARACTERS.fullmatch(order_id + buyer_id)
    ):
        check_id("order_id", order_id)
        check_buyer_id(buyer_id)


def check_buyer_id(value: object) -> str:
    """Like `check_id` for `buyer_id`, which may be empty."""
    return "" if type(value) is str and not value else check_id("buyer_id", value)


def check_quantity(value: object, field: str = "quantity") -> int:
    """Return `value` if it is an integer from 1 to 10^9 (`True` and `1.0` are not integers here).

    Raises:
        InvalidRequest: it is not; the error names `field`.
    """
    if type(value) is int and 1 <= value <= MAX_QUANTITY:
        return value
    raise InvalidRequest(field, f"an integer from 1 to {MAX_QUANTITY}, not {_shown(value)}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""What a SKU, an order id, a buyer id, a quantity and the rest of an order may be."""

import re
import string
from collections.abc import Iterable
from datetime import timedelta

from hotsku.errors import InvalidRequest

MAX_QUANTITY = 1_000_000_000
MAX_ID_LENGTH = 64
MAX_METADATA_BYTES = 256
MAX_PAYMENT_REF_LENGTH = 128
MAX_TTL_MS = 10**11

_ID = re.compile(r"[A-Za-z0-9._:@+=-]{1,64}")
_CHARACTERS = re.compile(r"[A-Za-z0-9._:@+=-]+")
_EVERY_CHARACTER = string.ascii_letters.encode() + string.digits.encode() + b"._:@+=-"
_ALPHABET = "A-Z a-z 0-9 . _ : @ + = -"
_ID_ALLOWED = f"1 to {MAX_ID_LENGTH} characters of {_ALPHABET}"
_METADATA_ALLOWED = f"text of at most {MAX_METADATA_BYTES} bytes of UTF-8, without NUL"
_TTL_ALLOWED = "a timedelta of at least 1 ms and shorter than three years"


def check_id(field: str, value: object) -> str:
    """Return `value` if it is a well-formed id.

    Raises:
        InvalidRequest: it is not; the error names `field`.
    """
    if type(value) is str and _ID.fullmatch(value):
        return value
    raise InvalidRequest(field, f"{_ID_ALLOWED}, not {_shown(value)}")


def are_ids(texts: Iterable[str]) -> bool:
    """Whether texts of the right lengths have nothing but the characters of ids, in one look at all of them."""
    text = "".join(texts)
    # Nothing is left without these: a quarter of what an expression takes for a thousand ids; for two it is more.
    return text.isascii() and not text.encode().translate(None, _EVERY_CHARACTER)


def has_shape(order_id: object, buyer_id: object, quantity: object) -> bool:
    """Whether these are an order's but for the characters of its ids, at which `are_ids` looks for many orders at once:
    for each by itself, that look takes as long as all of this."""
    return (
        type(order_id) is str
        and type(buyer_id) is str
        and type(quantity) is int
        and 0 < len(order_id) <= MAX_ID_LENGTH
        and len(buyer_id) <= MAX_ID_LENGTH
        and 0 < quantity <= MAX_QUANTITY
    )


def check_order(order_id: object, buyer_id: object, quantity: object) -> None:
    """`check_quantity` and `check_order_ids` for one order.

    Raises:
        InvalidRequest: something is not well-formed.
    """
    check_quantity(quantity)
    check_order_ids(order_id, buyer_id)


def check_order_ids(order_id: object, buyer_id: object) -> None:
    """`check_id` for an order and `check_buyer_id` for its buyer in one look.

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


def check_metadata(value: object) -> str:
    """Return `value` if it may be an order's metadata, which may be empty.

    Raises:
        InvalidRequest: it may not.
    """
    if type(value) is str and "\0" not in value and _fits(value):
        return value
    raise InvalidRequest("metadata", f"{_METADATA_ALLOWED}, not {_shown(value)}")


def check_payment_ref(value: object) -> str:
    """Return `value` if it may name a payment; "" for None, which names none.

    Raises:
        InvalidRequest: it may not.
    """
    if value is None:
        return ""
    if type(value) is str and len(value) <= MAX_PAYMENT_REF_LENGTH and _CHARACTERS.fullmatch(value):
        return value
    raise InvalidRequest("payment_ref", f"1 to {MAX_PAYMENT_REF_LENGTH} characters of {_ALPHABET}, not {_shown(value)}")


def check_ttl(value: object, field: str = "ttl") -> int:
    """The milliseconds of a hold's time.

    Raises:
        InvalidRequest: it is no time, or none that a hold may have; the error names `field`.
    """
    if isinstance(value, timedelta) and 1 <= (ms := value // timedelta(milliseconds=1)) < MAX_TTL_MS:
        return ms
    raise InvalidRequest(field, f"{_TTL_ALLOWED}, not {_shown(value)}")


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= MAX_METADATA_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except Exception:  # an integer may have more digits than Python puts into words
        text = f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."

"""The orders of a `deduct_many` call, in whichever form they come."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from hotsku.domain.deduction import Order
from hotsku.domain.identity import (
    MAX_ID_LENGTH,
    MAX_QUANTITY,
    are_ids,
    check_metadata,
    check_order_ids,
    check_quantity,
)
from hotsku.errors import InvalidRequest

_FIELDS = frozenset(Order.__struct_fields__)


def check_orders(values: object) -> list[Order]:
    """The orders, checked: each an `Order`, or a mapping with its fields.

    Raises:
        InvalidRequest: names the first field that is wrong, with its order's index.
    """
    if not isinstance(values, Iterable):
        raise InvalidRequest("orders", "a sequence of orders")
    given = list(values)
    return given if _are_plain(given) else [_check_order(value, index) for index, value in enumerate(given)]


def _are_plain(values: list[object]) -> TypeGuard[list[Order]]:
    """Whether all are plain orders with nothing wrong. One look at a thousand costs a third of a look at each."""
    ids: list[str] = []
    for value in values:
        if type(value) is not Order or value.metadata != "":
            return False
        order_id, buyer_id, quantity = value.order_id, value.buyer_id, value.quantity
        if (
            type(order_id) is not str
            or type(buyer_id) is not str
            or type(quantity) is not int
            or not 0 < len(order_id) <= MAX_ID_LENGTH
            or len(buyer_id) > MAX_ID_LENGTH
            or not 0 < quantity <= MAX_QUANTITY
        ):
            return False
        ids += (order_id, buyer_id)
    return are_ids(ids)


def _check_order(value: object, index: int) -> Order:
    order = value if type(value) is Order else _order_of(value, index)
    try:
        check_order_ids(order.order_id, order.buyer_id)
        check_quantity(order.quantity)
        if order.metadata != "":
            check_metadata(order.metadata)
    except InvalidRequest as error:
        raise InvalidRequest(f"orders[{index}].{error.field}", error.allowed) from None
    return order


def _order_of(value: object, index: int) -> Order:
    if isinstance(value, Mapping):
        unknown = sorted(str(name) for name in value if name not in _FIELDS)
        if unknown or "order_id" not in value:
            raise InvalidRequest(
                f"orders[{index}]", "a mapping with order_id and, if wanted, quantity, buyer_id, metadata"
            )
        return Order(**{str(name): part for name, part in value.items()})
    if not isinstance(value, Order):
        raise InvalidRequest(f"orders[{index}]", "an Order or a mapping with its fields")
    return value

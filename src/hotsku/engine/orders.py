"""The orders of a `deduct_many` call, in whichever form they come."""

from collections.abc import Iterable, Mapping

from hotsku.domain.deduction import Order
from hotsku.domain.identity import check_buyer_id, check_id, check_metadata, check_quantity
from hotsku.errors import InvalidRequest

_FIELDS = frozenset(Order.__struct_fields__)


def check_orders(values: object) -> list[Order]:
    """The orders, checked: each an `Order`, or a mapping with its fields.

    Raises:
        InvalidRequest: names the first field that is wrong, with its order's index.
    """
    if not isinstance(values, Iterable):
        raise InvalidRequest("orders", "a sequence of orders")
    return [_check_order(value, index) for index, value in enumerate(values)]


def _check_order(value: object, index: int) -> Order:
    if isinstance(value, Mapping):
        unknown = sorted(str(name) for name in value if name not in _FIELDS)
        if unknown or "order_id" not in value:
            raise InvalidRequest(
                f"orders[{index}]", "a mapping with order_id and, if wanted, quantity, buyer_id, metadata"
            )
        value = Order(**{str(name): part for name, part in value.items()})
    if not isinstance(value, Order):
        raise InvalidRequest(f"orders[{index}]", "an Order or a mapping with its fields")
    try:
        check_id("order_id", value.order_id)
        check_buyer_id(value.buyer_id)
        check_quantity(value.quantity)
        if value.metadata != "":
            check_metadata(value.metadata)
    except InvalidRequest as error:
        raise InvalidRequest(f"orders[{index}].{error.field}", error.allowed) from None
    return value

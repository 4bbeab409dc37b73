"""The orders of one call: one look at all of them takes what a look at each takes, and names the same culprit."""

from typing import Any
from unittest.mock import ANY

import pytest

from hotsku.domain.deduction import Order
from hotsku.engine.orders import check_orders
from hotsku.errors import InvalidRequest

WRONG: list[tuple[Any, str]] = [
    (Order("a b"), "orders[1].order_id"),
    (Order(""), "orders[1].order_id"),
    (Order("x" * 65), "orders[1].order_id"),
    (Order("é"), "orders[1].order_id"),
    (Order(7), "orders[1].order_id"),  # type: ignore[arg-type]
    (Order("a", 1, "b/c"), "orders[1].buyer_id"),
    (Order("a", 1, "x" * 65), "orders[1].buyer_id"),
    (Order("a", 1, None), "orders[1].buyer_id"),  # type: ignore[arg-type]
    (Order("a", 0), "orders[1].quantity"),
    (Order("a", 10**9 + 1), "orders[1].quantity"),
    (Order("a", True), "orders[1].quantity"),
    (Order("a", 1.0), "orders[1].quantity"),  # type: ignore[arg-type]
    (Order("a", 1, "", "x" * 257), "orders[1].metadata"),
    (Order("a", 1, "", 5), "orders[1].metadata"),  # type: ignore[arg-type]
    (Order("a", 1, "", ANY), "orders[1].metadata"),  # it equals everything
    ({"order_id": "a", "color": "red"}, "orders[1]"),
    ("a", "orders[1]"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_the_first_wrong_order_is_named(wrong: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        check_orders([Order("good"), wrong, Order("bad one")])
    assert error.value.field == field


def test_orders_in_whichever_form_they_come() -> None:
    plain = [Order("a-1", 3, "u"), Order("b", 10**9), Order("x" * 64, 1, "y" * 64)]
    assert check_orders(plain) == plain
    assert check_orders(iter(plain)) == plain
    assert check_orders([*plain, {"order_id": "c", "metadata": "m"}, Order("d", 1, "", "é")]) == [
        *plain, Order("c", 1, "", "m"), Order("d", 1, "", "é"),
    ]  # fmt: skip
    assert check_orders([]) == []
    with pytest.raises(InvalidRequest, match="orders must be a sequence"):
        check_orders(5)

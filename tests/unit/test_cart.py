"""A cart's lines: checked, summed, in order."""

import pytest

from hotsku.domain.cart import MAX_LINES, CartLine, check_lines
from hotsku.errors import InvalidRequest


def test_lines_of_one_sku_are_summed_and_all_are_in_order() -> None:
    lines = [{"sku": "b", "quantity": 2}, CartLine("a"), {"sku": "b"}, CartLine("c", 5)]
    assert check_lines(lines) == [CartLine("a", 1), CartLine("b", 3), CartLine("c", 5)]


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([], "lines"),
        ("ab", "lines"),
        ({"sku": "a"}, "lines"),
        (None, "lines"),
        ([CartLine(f"s-{n}") for n in range(MAX_LINES + 1)], "lines"),
        (["a"], "lines[0]"),
        ([{"quantity": 1}], "lines[0]"),
        ([{"sku": "a", "price": 1}], "lines[0]"),
        ([{"sku": "a b"}], "lines[0].sku"),
        ([CartLine("a"), {"sku": "b", "quantity": 0}], "lines[1].quantity"),
        ([{"sku": "a", "quantity": True}], "lines[0].quantity"),
        ([CartLine("a", 10**9), CartLine("a")], "lines[1].quantity"),
    ],
    ids=repr,
)
def test_a_bad_line_is_named(lines: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_lines(lines)
    assert caught.value.field == field

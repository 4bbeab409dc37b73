"""Where orders live. What is pinned here must never change: a retry has to meet its first attempt."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_identity import ALPHABET

from hotsku.domain.routing import home, mint_order_id, order_field, split_field

ids = st.text(ALPHABET, min_size=1, max_size=64)
buyers = st.one_of(st.just(""), ids)


@pytest.mark.parametrize(
    ("order_id", "buyer_id", "partitions", "expected"),
    [
        ("o-1", "", 8, 2),
        ("o-2", "", 8, 0),
        ("o-1", "u-7", 8, 1),
        ("o-9", "u-7", 8, 1),
        ("o-1", "u-7", 50, 7),
        ("o-1", "u-7", 1024, 73),
        ("A" * 64, "", 1000, 924),
    ],
)
def test_a_home_is_where_it_always_was(order_id: str, buyer_id: str, partitions: int, expected: int) -> None:
    assert home(order_id, buyer_id, partitions) == expected


@given(ids, ids, buyers, st.integers(1, 1024))
def test_a_buyers_orders_share_one_home(first: str, second: str, buyer_id: str, partitions: int) -> None:
    here = home(first, buyer_id, partitions)
    assert 0 <= here < partitions
    if buyer_id:
        assert home(second, buyer_id, partitions) == here


@pytest.mark.parametrize("partitions", [2, 7, 8, 50])
@pytest.mark.parametrize("pattern", ["o-{}", "{:08d}", "user{}@shop.example"])
def test_ids_that_count_up_spread_evenly(partitions: int, pattern: str) -> None:
    orders = 400 * partitions
    counts = Counter(home(pattern.format(i), "", partitions) for i in range(orders))
    assert len(counts) == partitions
    assert max(counts.values()) < 400 * 1.25
    assert min(counts.values()) > 400 * 0.75


@given(ids, buyers)
def test_an_order_field_can_be_split_again(order_id: str, buyer_id: str) -> None:
    assert split_field(order_field(order_id, buyer_id)) == (order_id, buyer_id)


@pytest.mark.parametrize("length", range(65))
def test_every_length_of_buyer_can_be_split_again(length: int) -> None:
    field = order_field("o", "b" * length)
    assert split_field(field) == ("o", "b" * length)
    assert field.isascii()
    assert field.isprintable()
    # The Lua functions read it so: the buyer ends at byte(field) - 47, counted from 1.
    assert field[1 : ord(field[0]) - 47] == "b" * length


def test_different_orders_have_different_fields() -> None:
    texts = ["".join(letters) for n in range(1, 5) for letters in itertools.product("a0", repeat=n)]
    pairs = list(itertools.product(texts, ["", *texts]))
    assert len({order_field(*pair) for pair in pairs}) == len(pairs)


@given(ids, buyers, ids, buyers)
def test_a_field_names_one_order(order_a: str, buyer_a: str, order_b: str, buyer_b: str) -> None:
    same = (order_a, buyer_a) == (order_b, buyer_b)
    assert (order_field(order_a, buyer_a) == order_field(order_b, buyer_b)) == same


@given(st.integers(1, 64), st.data())
def test_a_minted_order_lives_where_it_was_wanted(partitions: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, partitions - 1))
    numbers = itertools.count(data.draw(st.integers(0, 10**6)))
    drawn: list[str] = []

    def draw() -> str:
        drawn.append(f"m-{next(numbers)}")
        return drawn[-1]

    order_id = mint_order_id(draw, wanted, partitions)
    assert home(order_id, "", partitions) == wanted
    assert order_id == drawn[-1]
    assert all(home(earlier, "", partitions) != wanted for earlier in drawn[:-1])

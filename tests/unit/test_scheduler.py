"""Which partition a request goes to."""

import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_identity import ALPHABET

from hotsku.domain.item import Routing
from hotsku.domain.routing import home
from hotsku.engine.scheduler import Scheduler

ROUTINGS: list[Routing] = ["sticky", "random", "round_robin"]
SPREADING: list[Routing] = ["random", "round_robin"]
ids = st.text(ALPHABET, min_size=1, max_size=64)


class Registered:
    def __init__(self, left: int) -> None:
        self.left = left


def scheduler(routing: Routing, partitions: list[Registered], pick: Callable[[int], int] | None = None) -> Scheduler:
    numbers = itertools.count()
    return Scheduler(routing, partitions, lambda: f"m-{next(numbers)}", pick or Random(1).randrange)


def lefts(*units: int) -> list[Registered]:
    return [Registered(left) for left in units]


@given(st.sampled_from(ROUTINGS), ids, st.one_of(st.just(""), ids), st.lists(st.integers(0, 3), min_size=1))
def test_a_named_order_is_at_its_home_whatever_is_left_there(
    routing: Routing, order_id: str, buyer_id: str, units: list[int]
) -> None:
    expected = (order_id, home(order_id, buyer_id, len(units)))
    assert scheduler(routing, lefts(*units)).route(order_id, buyer_id, 1) == expected


@given(st.sampled_from(ROUTINGS), ids, st.lists(st.integers(0, 3), min_size=1))
def test_a_named_buyer_is_at_home_with_whatever_order(routing: Routing, buyer_id: str, units: list[int]) -> None:
    order_id, partition = scheduler(routing, lefts(*units)).route(None, buyer_id, 1)
    assert partition == home("anything else", buyer_id, len(units))
    assert order_id == "m-0"


@given(st.sampled_from(ROUTINGS), st.lists(st.integers(0, 3), min_size=1), st.integers(1, 3))
def test_a_minted_order_lives_where_it_was_sent(routing: Routing, units: list[int], quantity: int) -> None:
    one = scheduler(routing, lefts(*units))
    for order_id, partition in [one.route(None, "", quantity) for _ in range(5)]:
        assert home(order_id, "", len(units)) == partition


@pytest.mark.parametrize("routing", SPREADING)
def test_only_partitions_with_enough_stock_are_chosen(routing: Routing) -> None:
    one = scheduler(routing, lefts(2, 0, 3, 1, 2))
    assert {one.route(None, "", 2)[1] for _ in range(200)} == {0, 2, 4}
    assert {one.route(None, "", 3)[1] for _ in range(50)} == {2}


@pytest.mark.parametrize("routing", SPREADING)
def test_where_none_has_enough_each_may_be_chosen(routing: Routing) -> None:
    one = scheduler(routing, lefts(1, 0, 2))
    assert {one.route(None, "", 3)[1] for _ in range(200)} == {0, 1, 2}


@pytest.mark.parametrize("routing", SPREADING)
def test_an_exhausted_partition_is_off_the_list_until_stock_comes(routing: Routing) -> None:
    partitions = lefts(1, 1)
    one = scheduler(routing, partitions)
    partitions[0].left = 0
    assert {one.route(None, "", 1)[1] for _ in range(50)} == {1}
    partitions[0].left = 5
    assert {one.route(None, "", 1)[1] for _ in range(50)} == {0, 1}


def test_round_robin_goes_round() -> None:
    one = scheduler("round_robin", lefts(9, 9, 0, 9))
    turns = [one.route(None, "", 1)[1] for _ in range(30)]
    assert Counter(turns) == {0: 10, 1: 10, 3: 10}
    assert all(turns[i : i + 3] == turns[:3] for i in range(0, 30, 3))


def test_random_asks_for_one_of_those_that_can() -> None:
    asked: list[int] = []

    def last(count: int) -> int:
        asked.append(count)
        return count - 1

    assert scheduler("random", lefts(1, 0, 1, 0), last).route(None, "", 1)[1] == 2
    assert asked == [2]


def test_sticky_goes_where_the_minted_order_falls() -> None:
    one = scheduler("sticky", lefts(0, 0, 0, 9))
    chosen = Counter(one.route(None, "", 1)[1] for _ in range(400))
    assert set(chosen) == {0, 1, 2, 3}
    assert max(chosen.values()) < 150

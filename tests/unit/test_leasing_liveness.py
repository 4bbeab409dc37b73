"""Rounds end: in a model of a whole item, no order waits that the units left could serve, and no no is a lie."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.parked import request
from tests.support.stock_model import StockModel

PATIENCE_MS = 5000


@st.composite
def sales(draw: st.DrawFn, *, unarmed: bool = False, most: int = 5) -> StockModel:
    partitions = draw(st.integers(1, 6))
    lefts = draw(st.lists(st.integers(0, 8), min_size=partitions, max_size=partitions))
    pool = draw(st.integers(0, 8))
    waiting = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, partitions - 1), st.integers(1, most)), min_size=1, max_size=30
        )
    )
    orders = [(engine, at, request(f"o-{i}", quantity)) for i, (engine, at, quantity) in enumerate(waiting)]
    away = draw(st.sets(st.integers(0, partitions - 1), min_size=1, max_size=1)) if unarmed else set()
    return StockModel(Random(draw(st.integers(0, 2**32))), pool, lefts, orders, away)


@settings(max_examples=examples(300))
@given(sales())
def test_every_order_is_served_or_truly_refused_within_its_patience(sale: StockModel) -> None:
    sale.run(PATIENCE_MS)
    assert sale.heads() == []
    assert all(quantity > unsold for quantity, unsold in sale.refused)


@settings(max_examples=examples(300))
@given(sales(unarmed=True, most=12))
def test_what_one_partition_cannot_get_does_not_keep_the_others_waiting(sale: StockModel) -> None:
    sale.run(PATIENCE_MS)
    assert all(quantity > sale.sellable for quantity in sale.heads())


def test_a_large_order_that_waits_for_a_fenced_partition_lets_small_ones_through() -> None:
    """The ledger counts the five fenced units as unsold, so the order of eleven is not refused; it lacks just one."""
    orders = [(0, 0, request("large", 11)), (0, 1, request("small", 2))]
    sale = StockModel(Random(1), pool=0, lefts=[10, 0, 5], orders=orders, unarmed={2})
    sale.run(PATIENCE_MS / 5)
    assert sale.heads() == [11]
    assert sale.unsold == 13


def test_the_last_units_meet_in_one_place() -> None:
    """Three partitions with a unit each and an order of three each: one is served, the others hear the truth."""
    orders = [(0, i, request(f"o-{i}", 3)) for i in range(3)]
    sale = StockModel(Random(1), pool=0, lefts=[1, 1, 1], orders=orders, unarmed=set())
    sale.run(PATIENCE_MS / 5)
    assert sale.unsold == 0
    assert sale.refused == [(3, 0), (3, 0)]

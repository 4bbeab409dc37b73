"""Leases: all of a round or nothing, each number once, never more than the pool has."""

import pytest
from tests.support.ledger import NOW, message, open_item, sales, spec

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Standing
from hotsku.errors import InvalidRequest
from hotsku.ledger import SqlLedger
from hotsku.ports import Grant, Lease

pytestmark = pytest.mark.anyio


async def test_the_example_of_the_design_comes_out_exactly(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=10_000), 400)
    await ledger.apply(message(ledger, item.id, sales(1, 30)))
    await ledger.lease([Grant(PartitionRef(item.id, 0), 1, 1, 100)], NOW)
    standing = await ledger.standing(item.id)
    assert standing == Standing(total=10_000, pool=9_500, preallocated=470, sold=30)
    assert standing.actual == 9_970


async def test_a_round_leases_to_many_partitions_of_many_items(ledger: SqlLedger) -> None:
    one = await open_item(ledger, spec("one", 100, 2))
    two = await open_item(ledger, spec("two", 50, 1))
    refs = [PartitionRef(two.id, 0), PartitionRef(one.id, 1), PartitionRef(one.id, 0)]
    leases = await ledger.lease([Grant(ref, 1, 0, 10) for ref in refs], NOW)
    assert leases == [Lease(ref, 1, 1, 10) for ref in sorted(refs)]
    assert [(await ledger.standing(item.id)).pool for item in (one, two)] == [80, 40]


async def test_one_partition_may_get_several_leases_at_once(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 5)
    ref = PartitionRef(item.id, 0)
    leases = await ledger.lease([Grant(ref, 1, 2, 30), Grant(ref, 1, 1, 20)], NOW)
    assert leases == [Lease(ref, 1, 2, 20), Lease(ref, 1, 3, 30)]
    row = await ledger.partition(ref)
    assert row is not None
    assert (row.lease_no, row.granted) == (3, 55)
    assert await ledger.leases_after(ref, 1, 1) == leases
    assert await ledger.leases_after(ref, 2, 0) == []


async def test_the_pool_can_be_leased_to_its_last_unit_and_no_further(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=10))
    ref = PartitionRef(item.id, 0)
    assert await ledger.lease([Grant(ref, 1, 0, 11)], NOW) is None
    assert await ledger.lease([Grant(ref, 1, 0, 10)], NOW) == [Lease(ref, 1, 1, 10)]
    assert await ledger.lease([Grant(ref, 1, 1, 1)], NOW) is None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param((1, 1, 1, 5), id="a number ahead"),
        pytest.param((1, 2, 0, 5), id="another incarnation"),
        pytest.param((9, 1, 0, 5), id="no such partition"),
        pytest.param((2, 1, 0, 5), id="a new partition"),
        pytest.param((3, 1, 0, 5), id="a fenced partition"),
        pytest.param((0, 1, 0, 5), id="a number that is taken"),
        pytest.param((1, 1, 0, 91), id="more than the pool has"),
    ],
)
async def test_one_lost_guard_rolls_back_the_whole_round(ledger: SqlLedger, bad: tuple[int, int, int, int]) -> None:
    item = (await ledger.create_item(spec(total=100, partitions=5), "durable", NOW)).item
    for partition in (0, 1, 3, 4):
        await ledger.open_partition(PartitionRef(item.id, partition), 1)
    await ledger.fence_partition(PartitionRef(item.id, 3), 1, "lost its memory")
    await ledger.lease([Grant(PartitionRef(item.id, 0), 1, 0, 5)], NOW)
    before = await ledger.figures()
    partition, incarnation, lease_no, quantity = bad
    good = Grant(PartitionRef(item.id, 4), 1, 0, 5)
    assert (
        await ledger.lease([good, Grant(PartitionRef(item.id, partition), incarnation, lease_no, quantity)], NOW)
        is None
    )
    assert await ledger.figures() == before


async def test_an_empty_round_is_done_and_a_lease_of_nothing_is_a_fault(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec())
    assert await ledger.lease([], NOW) == []
    with pytest.raises(InvalidRequest, match="quantity"):
        await ledger.lease([Grant(PartitionRef(item.id, 0), 1, 0, 0)], NOW)


async def test_a_partition_opens_once_and_a_fenced_one_stays_fenced(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 5)
    ref = PartitionRef(item.id, 0)
    await ledger.open_partition(ref, 1)
    await ledger.fence_partition(ref, 2, "another incarnation")
    row = await ledger.partition(ref)
    assert row is not None
    assert row.state == "open"
    await ledger.fence_partition(ref, 1, "first")
    await ledger.open_partition(ref, 1)
    row = await ledger.partition(ref)
    assert row is not None
    assert row.state == "fenced"


async def test_a_closed_item_gets_no_leases(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 10)
    ref = PartitionRef(item.id, 0)
    await ledger.set_item_state(item.id, "paused")
    assert await ledger.lease([Grant(ref, 1, 1, 10)], NOW) == [Lease(ref, 1, 2, 10)]
    await ledger.set_item_state(item.id, "closed")
    before = await ledger.figures()
    assert await ledger.lease([Grant(ref, 1, 2, 10)], NOW) is None
    assert await ledger.figures() == before

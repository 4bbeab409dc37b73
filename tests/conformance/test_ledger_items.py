"""Items: made once, whoever asks how often."""

import pytest
from tests.support.ledger import NOW, spec

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Standing
from hotsku.errors import IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.ledger import SqlLedger

pytestmark = pytest.mark.anyio


async def test_a_new_item_has_all_its_units_in_the_pool_and_partitions_without_leases(ledger: SqlLedger) -> None:
    item = await ledger.create_item(spec(total=100, partitions=3), "fast", NOW)
    assert await ledger.standing(item.id) == Standing(total=100, pool=100, preallocated=0, sold=0)
    rows = await ledger.partitions(item.id)
    assert [(row.partition, row.incarnation, row.state, row.durability, row.lease_no) for row in rows] == [
        (partition, 1, "new", "fast", 0) for partition in range(3)
    ]


async def test_an_item_is_read_as_it_was_made(ledger: SqlLedger) -> None:
    made = spec(limit_per_buyer=2, opens_at_ms=5, closes_at_ms=9, hold_ttl_ms=60_000, refund_restores_limit=True)
    item = await ledger.create_item(made, "durable", NOW)
    assert item.spec == made
    assert await ledger.item("sneaker") == item
    assert await ledger.item_by_id(item.id) == item
    assert await ledger.item("other") is None
    assert await ledger.item_by_id(item.id + 1) is None


async def test_the_same_item_again_is_the_same_item(ledger: SqlLedger) -> None:
    first = await ledger.create_item(spec(partitions=2), "durable", NOW)
    assert await ledger.create_item(spec(partitions=2), "durable", NOW + 1) == first
    assert len(await ledger.partitions(first.id)) == 2


async def test_an_item_with_other_figures_is_a_conflict_that_names_them(ledger: SqlLedger) -> None:
    item = await ledger.create_item(spec(total=100), "durable", NOW)
    with pytest.raises(IdempotencyConflict, match="total is 100, not 101, limit_per_buyer is None, not 2") as caught:
        await ledger.create_item(spec(total=101, limit_per_buyer=2, opens_at_ms=7), "durable", NOW)
    assert "another opens_at" in str(caught.value)
    assert "partitions" not in str(caught.value)
    assert (await ledger.standing(item.id)).total == 100


async def test_an_item_that_is_not_allowed_is_not_made(ledger: SqlLedger) -> None:
    with pytest.raises(InvalidRequest, match="total"):
        await ledger.create_item(spec(total=0), "durable", NOW)
    assert await ledger.items(None, 10) == []


async def test_items_are_listed_by_the_bytes_of_their_sku(ledger: SqlLedger) -> None:
    for sku in ("b", "B", "a", "A"):
        await ledger.create_item(spec(sku), "durable", NOW)
    assert [item.sku for item in await ledger.items(None, 10)] == ["A", "B", "a", "b"]
    assert [item.sku for item in await ledger.items("B", 1)] == ["a"]


async def test_the_standing_of_no_item_is_a_fault(ledger: SqlLedger) -> None:
    with pytest.raises(UnknownItem):
        await ledger.standing(77)
    assert await ledger.partition(PartitionRef(77, 0)) is None


async def test_partitions_of_all_items_come_in_order(ledger: SqlLedger) -> None:
    for sku in ("b", "a"):
        await ledger.create_item(spec(sku, partitions=2), "durable", NOW)
    assert [row.ref for row in await ledger.partitions()] == [PartitionRef(i, p) for i in (1, 2) for p in (0, 1)]

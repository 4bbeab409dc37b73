"""Items: made once, whoever asks how often."""

import asyncio

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, open_item, spec

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Standing
from hotsku.errors import IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.ledger import SqlLedger
from hotsku.ports import Adjusted, Created

pytestmark = pytest.mark.anyio


async def test_a_new_item_has_all_its_units_in_the_pool_and_partitions_without_leases(ledger: SqlLedger) -> None:
    item = (await ledger.create_item(spec(total=100, partitions=3), "fast", NOW)).item
    assert await ledger.standing(item.id) == Standing(total=100, pool=100, preallocated=0, sold=0)
    rows = await ledger.partitions(item.id)
    assert [(row.partition, row.incarnation, row.state, row.durability, row.lease_no) for row in rows] == [
        (partition, 1, "new", "fast", 0) for partition in range(3)
    ]


async def test_an_item_is_read_as_it_was_made(ledger: SqlLedger) -> None:
    made = spec(limit_per_buyer=2, opens_at_ms=5, closes_at_ms=9, hold_ttl_ms=60_000, refund_restores_limit=True)
    item = (await ledger.create_item(made, "durable", NOW)).item
    assert item.spec == made
    assert await ledger.item("sneaker") == item
    assert await ledger.item_by_id(item.id) == item
    assert await ledger.item("other") is None
    assert await ledger.item_by_id(item.id + 1) is None


async def test_the_same_item_again_is_the_same_item(ledger: SqlLedger) -> None:
    first = await ledger.create_item(spec(partitions=2), "durable", NOW)
    assert first.new
    assert await ledger.create_item(spec(partitions=2), "durable", NOW + 1) == Created(first.item, new=False)
    assert len(await ledger.partitions(first.item.id)) == 2


async def test_of_those_who_make_an_item_at_the_same_moment_one_has_made_it(
    ledger: SqlLedger, database: Database
) -> None:
    other = database.open_only()
    asked = [each.create_item(spec(), "durable", NOW) for _ in range(5) for each in (ledger, other)]
    made = await asyncio.gather(*asked)
    assert sorted(each.new for each in made) == [False] * 9 + [True]
    assert {each.item for each in made} == {made[0].item}
    await other.close()


async def test_an_item_with_other_figures_is_a_conflict_that_names_them(ledger: SqlLedger) -> None:
    item = (await ledger.create_item(spec(total=100), "durable", NOW)).item
    with pytest.raises(IdempotencyConflict, match="total is 100, not 101, limit_per_buyer is None, not 2") as caught:
        await ledger.create_item(spec(total=101, limit_per_buyer=2, opens_at_ms=7), "durable", NOW)
    assert "another opens_at" in str(caught.value)
    assert "partitions" not in str(caught.value)
    assert caught.value.field == "sku"
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


async def test_the_state_of_an_item_changes_and_counts_its_version(ledger: SqlLedger) -> None:
    item = (await ledger.create_item(spec(total=100), "durable", NOW)).item
    assert (item.state, item.version) == ("open", 1)
    seen = [await ledger.set_item_state(item.id, state) for state in ("paused", "paused", "open", "closed", "closed")]
    assert [(each.state, each.version) for each in seen] == [
        ("paused", 2),
        ("paused", 2),
        ("open", 3),
        ("closed", 4),
        ("closed", 4),
    ]
    assert await ledger.item("sneaker") == seen[-1]
    assert (await ledger.standing(item.id)).state == "closed"
    with pytest.raises(UnknownItem):
        await ledger.set_item_state(item.id + 1, "paused")


async def test_what_is_closed_stays_closed(ledger: SqlLedger) -> None:
    item = (await ledger.create_item(spec(total=100), "durable", NOW)).item
    closed = await ledger.set_item_state(item.id, "closed")
    for state in ("open", "paused"):
        assert await ledger.set_item_state(item.id, state) == closed
    assert (await ledger.create_item(spec(total=100), "durable", NOW)).item.state == "closed"


async def test_an_item_grows_and_shrinks_once_for_each_adjustment(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(total=100), 30)
    for _ in range(2):
        assert await ledger.adjust(item.id, "more", 20, NOW) == Adjusted(status="done", pool=90, actual=120)
    for _ in range(2):
        assert await ledger.adjust(item.id, "less", -90, NOW) == Adjusted(status="done", pool=0, actual=30)
    assert await ledger.standing(item.id) == Standing(total=30, pool=0, preallocated=30, sold=0)
    assert database.execute("SELECT count(*), sum(quantity), max(at) FROM adjustments") == (2, -70, NOW)
    await books_hold(ledger, item.id)


async def test_an_adjustment_that_cannot_be_made_changes_nothing(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 30)
    await ledger.adjust(item.id, "a", 5, NOW)
    before = await ledger.standing(item.id)
    assert (await ledger.adjust(item.id, "a", 6, NOW)).status == "conflict"
    assert await ledger.adjust(item.id, "b", -76, NOW) == Adjusted(status="short", pool=75, actual=105)
    assert await ledger.standing(item.id) == before
    assert (await ledger.adjust(item.id, "b", -75, NOW)).status == "done"  # what failed has not used its id up
    for quantity in (0, 10**9 + 1, -(10**9) - 1):
        with pytest.raises(InvalidRequest, match="quantity must be"):
            await ledger.adjust(item.id, "c", quantity, NOW)
    with pytest.raises(UnknownItem):
        await ledger.adjust(item.id + 1, "a", 5, NOW)


async def test_a_closed_item_is_not_adjusted_but_says_what_was_done_before(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 30)
    await ledger.adjust(item.id, "a", 5, NOW)
    await ledger.set_item_state(item.id, "closed")
    assert (await ledger.adjust(item.id, "a", 5, NOW)).status == "done"
    for quantity in (5, -5):
        assert (await ledger.adjust(item.id, "b", quantity, NOW)).status == "closed"
    assert (await ledger.standing(item.id)).total == 105


async def test_creations_compare_the_total_that_the_item_was_made_with(ledger: SqlLedger) -> None:
    item = (await ledger.create_item(spec(total=100), "durable", NOW)).item
    await ledger.adjust(item.id, "a", 20, NOW)
    await ledger.adjust(item.id, "b", -50, NOW)
    again = (await ledger.create_item(spec(total=100), "durable", NOW)).item
    assert (again.id, again.spec.total) == (item.id, 70)
    with pytest.raises(IdempotencyConflict, match="total is 100, not 70"):
        await ledger.create_item(spec(total=70), "durable", NOW)


async def test_whoever_adjusts_at_the_same_moment_adjusts_once(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(total=100), 30)
    other = database.open_only()
    asked = [each.adjust(item.id, f"a-{i % 5}", -10, NOW) for i in range(10) for each in (ledger, other)]
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {"done"}
    assert (await ledger.standing(item.id)).total == 50
    await other.close()

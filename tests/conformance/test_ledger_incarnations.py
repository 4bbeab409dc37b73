"""A closed incarnation: what it had left goes back once, at once or when its quarantine is over."""

import asyncio
from typing import Any

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, given_back, message, open_item, sale, sales, spec

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item, Standing
from hotsku.ledger import SqlLedger
from hotsku.ledger.places import read_places
from hotsku.ports import Applied, Grant, PartitionRow

pytestmark = pytest.mark.anyio

SOON = NOW + 600_000


async def fenced_item(ledger: SqlLedger, sku: str = "sneaker") -> Item:
    """An item of 100 units; its partition has sold 7 of 50 and given back 3, and is fenced at 8."""
    item = await open_item(ledger, spec(sku, total=100), 50)
    orders = [sale(seq, f"{sku}-{seq}") for seq in range(1, 8)]
    await ledger.apply(message(ledger, item.id, [*orders, given_back(8, 3)]))
    await ledger.fence_partition(PartitionRef(item.id, 0), 1, "lost its memory")
    return item


async def replace(ledger: SqlLedger, item: Item, until_ms: int | None = None, final_seq: int = 8) -> bool:
    return await ledger.replace_incarnation(
        PartitionRef(item.id, 0), 1, final_seq, durability="fast", quarantine_until_ms=until_ms, now_ms=NOW
    )


async def rows_of(ledger: SqlLedger, item: Item) -> list[PartitionRow]:
    rows = await ledger.partitions(item.id)
    assert [row.incarnation for row in rows] == list(range(1, len(rows) + 1))
    return rows


async def test_what_is_left_returns_to_the_pool_at_once_and_the_next_one_is_rebuilt(ledger: SqlLedger) -> None:
    item = await fenced_item(ledger)
    assert await replace(ledger, item)
    old, new = await rows_of(ledger, item)
    assert (old.state, old.final_seq, old.preallocated, old.returned) == ("closed", 8, 0, 43)
    assert (old.quarantined_until_ms, old.watermark) == (None, 8)
    assert (new.state, new.durability, new.granted, new.watermark) == ("rebuilding", "fast", 0, 0)
    assert await ledger.standing(item.id) == Standing(total=100, pool=93, preallocated=0, sold=7)
    await books_hold(ledger, item.id)


async def test_what_is_left_may_be_held_back_until_its_time(ledger: SqlLedger) -> None:
    item = await fenced_item(ledger)
    assert await replace(ledger, item, SOON)
    assert (await rows_of(ledger, item))[0].quarantined_until_ms == SOON
    held = Standing(total=100, pool=53, preallocated=40, sold=7, quarantined=40)
    assert await ledger.standing(item.id) == held
    await books_hold(ledger, item.id)
    assert await ledger.end_quarantines(SOON - 1) == []
    assert await ledger.standing(item.id) == held
    assert await ledger.end_quarantines(SOON) == [PartitionRef(item.id, 0)]
    assert await ledger.end_quarantines(SOON) == []
    assert await ledger.standing(item.id) == Standing(total=100, pool=93, preallocated=0, sold=7)
    old = (await rows_of(ledger, item))[0]
    assert (old.state, old.quarantined_until_ms, old.preallocated) == ("closed", None, 0)
    await books_hold(ledger, item.id)


async def test_the_quarantines_of_many_items_end_together_and_each_once(ledger: SqlLedger) -> None:
    items = [await fenced_item(ledger, sku) for sku in ("one", "two", "three")]
    for item, until_ms in zip(items, (SOON, SOON, SOON + 1), strict=True):
        assert await replace(ledger, item, until_ms)
    ended = await asyncio.gather(*(ledger.end_quarantines(SOON) for _ in range(3)))
    assert sorted(ref.item_id for refs in ended for ref in refs) == [items[0].id, items[1].id]
    assert [(await ledger.standing(item.id)).pool for item in items] == [93, 93, 53]
    for item in items:
        await books_hold(ledger, item.id)


async def test_replacing_again_finds_it_done(ledger: SqlLedger) -> None:
    item = await fenced_item(ledger)
    assert await asyncio.gather(*(replace(ledger, item) for _ in range(3))) == [True, True, True]
    before = await ledger.figures(item.id)
    assert await replace(ledger, item, SOON)
    assert await ledger.figures(item.id) == before
    assert len(await rows_of(ledger, item)) == 2


@pytest.mark.parametrize("final_seq", [7, 9])
async def test_an_incarnation_that_is_not_applied_to_its_end_stays(ledger: SqlLedger, final_seq: int) -> None:
    item = await fenced_item(ledger)
    before = await ledger.figures()
    assert not await replace(ledger, item, final_seq=final_seq)
    assert await ledger.figures() == before


async def test_only_a_fenced_incarnation_is_replaced(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    before = await ledger.figures()
    assert not await replace(ledger, item, final_seq=0)
    strange = PartitionRef(item.id + 1, 0)
    assert not await ledger.replace_incarnation(strange, 1, 0, durability="fast", quarantine_until_ms=None, now_ms=NOW)
    assert await ledger.figures() == before


async def test_an_incarnation_with_nothing_left_takes_no_step(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100), 5)
    await ledger.apply(message(ledger, item.id, sales(1, 5)))
    await ledger.fence_partition(PartitionRef(item.id, 0), 1, "lost its memory")
    assert await replace(ledger, item, final_seq=5)
    assert (await ledger.figures(item.id)).partitions[0].steps.count == 0
    await books_hold(ledger, item.id)


async def test_the_next_incarnation_opens_sells_and_is_replaced_like_any_other(ledger: SqlLedger) -> None:
    item = await fenced_item(ledger)
    ref = PartitionRef(item.id, 0)
    await replace(ledger, item, SOON)
    assert await ledger.lease([Grant(ref, 2, 0, 10)], NOW) is None
    await ledger.fence_partition(ref, 2, "not yet")
    await ledger.fence_partition(ref, 1, "no more")
    assert [row.state for row in await rows_of(ledger, item)] == ["closed", "rebuilding"]
    await ledger.open_partition(ref, 2)
    await ledger.open_partition(ref, 1)
    assert [row.state for row in await rows_of(ledger, item)] == ["closed", "open"]
    assert await ledger.lease([Grant(ref, 2, 0, 10)], NOW)
    assert await ledger.lease([Grant(ref, 1, 1, 10)], NOW) is None
    events = [sale(seq, f"second-{seq}") for seq in (1, 2)]
    await ledger.apply(message(ledger, item.id, events, incarnation=2))
    await ledger.fence_partition(ref, 2, "lost it again")
    again = {"durability": "durable", "quarantine_until_ms": None, "now_ms": NOW}
    assert await ledger.replace_incarnation(ref, 2, 2, **again)  # type: ignore[arg-type]
    assert [row.state for row in await rows_of(ledger, item)] == ["closed", "closed", "rebuilding"]
    assert await ledger.standing(item.id) == Standing(total=100, pool=51, preallocated=40, sold=9, quarantined=40)
    await books_hold(ledger, item.id)


async def test_beyond_the_end_of_a_closed_incarnation_nothing_is_applied(ledger: SqlLedger, database: Database) -> None:
    item = await fenced_item(ledger)
    await replace(ledger, item)
    before = (await ledger.figures(item.id)).partitions
    assert await ledger.apply(message(ledger, item.id, sales(1, 7))) == Applied(status="skipped", watermark=8)
    late = [sale(seq, f"late-{seq}") for seq in range(8, 12)]
    for _ in range(2):
        assert await ledger.apply(message(ledger, item.id, late)) == Applied(status="parked", watermark=8)
    assert (await ledger.figures(item.id)).partitions == before
    assert (await ledger.figures()).parked == 1
    body, reason = database.execute("SELECT body, reason FROM parked")
    assert isinstance(body, bytes)
    assert b"late-9" in body
    assert b"late-8" not in body
    assert "closed incarnation" in str(reason)


async def test_a_message_that_read_the_row_before_it_was_closed_is_not_applied(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark stays where it is when an incarnation is closed, so it alone would be no guard."""
    item = await fenced_item(ledger)
    other = database.open_only()

    def close_then(*arguments: Any) -> object:
        found = read_places(*arguments)
        monkeypatch.setattr("hotsku.ledger.apply.read_places", read_places)
        asyncio.run_coroutine_threadsafe(replace(other, item), loop).result(20)
        return found

    loop = asyncio.get_running_loop()
    if database.kind != "sqlite":  # there, nobody else writes meanwhile
        monkeypatch.setattr("hotsku.ledger.apply.read_places", close_then)
        assert (await ledger.apply(message(ledger, item.id, [sale(9, "late")]))).status == "parked"
        assert await ledger.order(item.id, "late", "") is None
        await books_hold(ledger, item.id)
    await other.close()


async def test_orders_of_a_partition_come_over_all_incarnations(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100, partitions=2), 20, 20)
    first, second = PartitionRef(item.id, 0), PartitionRef(item.id, 1)
    await ledger.apply(message(ledger, item.id, [sale(1, "a1"), given_back(2, 1), sale(3, "a3")]))
    await ledger.apply(message(ledger, item.id, [sale(1, "b1")], partition=1))
    await ledger.fence_partition(first, 1, "lost its memory")
    await ledger.replace_incarnation(first, 1, 3, durability="fast", quarantine_until_ms=None, now_ms=NOW)
    await ledger.open_partition(first, 2)
    await ledger.lease([Grant(first, 2, 0, 5)], NOW)
    await ledger.apply(message(ledger, item.id, [sale(1, "c1"), sale(2, "c2")], incarnation=2))
    pages, after = [], None
    while page := await ledger.orders_of(first, after, 3):
        pages.append([(row.incarnation, row.seq, row.order_id) for row in page])
        after = page[-1]
    assert pages == [[(1, 1, "a1"), (1, 3, "a3"), (2, 1, "c1")], [(2, 2, "c2")]]
    assert [row.order_id for row in await ledger.orders_of(second, None, 9)] == ["b1"]
    assert await ledger.orders_of(PartitionRef(item.id, 2), None, 9) == []

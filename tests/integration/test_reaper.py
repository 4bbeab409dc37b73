"""The reaper: a hold ends when its time is over, once, whoever comes; and its units are for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.orders import Caller
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import home
from hotsku.ports import Fenced, Work
from hotsku.workers.auditor import Auditor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


@pytest.fixture
def caller(stack: Stack) -> Caller:
    return Caller(stack.ledger, stack.shard)


def _at(partition: int, partitions: int, count: int) -> list[str]:
    """So many orders whose home is that partition."""
    names = (f"o-{n}" for n in range(1_000_000) if home(f"o-{n}", "", partitions) == partition)
    return [next(names) for _ in range(count)]


async def _held(stack: Stack, item: Item, units: int) -> bool:
    return (await stack.ledger.standing(item.id)).held == units


async def _all_back(stack: Stack, item: Item) -> bool:
    standing = await stack.ledger.standing(item.id)
    return (standing.held, standing.sold, standing.actual) == (0, 0, item.spec.total)


async def _audited(stack: Stack) -> None:
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


async def test_units_of_expired_holds_are_for_others_again(stack: Stack, caller: Caller) -> None:
    item = await stack.item(total=4_000, partitions=4)
    stack.run(stack.new_relay(), stack.new_applier())
    for partition in range(4):
        orders = _at(partition, 4, 50)
        assert await caller.hold(item, *orders, ttl_ms=300, quantity=2) == "A" * 50
    await until(lambda: _held(stack, item, 400))
    stack.run(stack.new_reaper())
    await until(lambda: _all_back(stack, item))
    await _audited(stack)


async def test_more_than_one_sweep_takes(stack: Stack, caller: Caller) -> None:
    item = await stack.item(total=10_000)
    orders = _at(0, 1, 1_700)
    for start in range(0, len(orders), 850):
        assert set(await caller.hold(item, *orders[start : start + 850], ttl_ms=1)) == {"A"}
    stack.run(stack.new_relay(), stack.new_applier())
    await until(lambda: _held(stack, item, 1_700))
    await stack.new_reaper().sweep()
    assert (await stack.status(item)).holds == 0


async def test_it_comes_back_at_the_moment_when_a_hold_ends(stack: Stack, caller: Caller) -> None:
    """Between two looks at the ledger, which are an hour apart here."""
    item = await stack.item()
    await caller.hold(item, "a", ttl_ms=700)
    await caller.hold(item, "b", ttl_ms=60_000)
    relay, applier = stack.new_relay(), stack.new_applier()
    stack.run(relay, applier)
    await until(lambda: _held(stack, item, 2))
    stack.run(stack.new_reaper(interval_ms=NEVER_MS))
    await until(lambda: _in_state(caller, item, "a", OrderState.EXPIRED))
    assert await caller.state(item, "b") is OrderState.HELD


async def _in_state(caller: Caller, item: Item, order_id: str, state: OrderState) -> bool:
    with suppress(Fenced):  # it is lost, and on its way back
        return await caller.state(item, order_id) is state
    return False


async def test_it_has_the_streams_flushed_that_it_changed(stack: Stack, caller: Caller) -> None:
    item = await stack.item(partitions=3)
    works: list[Work] = []
    stack.signals.subscribe(work=works.append)
    await stack.signals.listening()
    await caller.hold(item, *_at(1, 3, 2), ttl_ms=1)
    await caller.hold(item, *_at(2, 3, 2), ttl_ms=60_000)
    loop = stack.run(stack.new_relay(), stack.new_applier())
    await until(lambda: _held(stack, item, 4))
    await loop.stop()
    works.clear()
    reaper = stack.new_reaper()
    await reaper.sweep()
    await reaper.sweep()
    await until(lambda: [ref for work in works for ref in work.flush] == [PartitionRef(item.id, 1)])


async def test_of_confirm_and_expiry_one_wins(stack: Stack, caller: Caller) -> None:
    item = await stack.item()
    early, *orders, late = _at(0, 1, 60)
    assert set(await caller.hold(item, *orders, late, ttl_ms=1_000)) == {"A"}
    assert await caller.hold(item, early) == "A"
    codes = {early: await caller.step(item, "confirm", early, "pay")}
    record = await caller.record(item, late)
    assert record is not None
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_reaper(interval_ms=5), stack.new_reaper(interval_ms=5))
    await asyncio.sleep(max(0.0, (record.expires_at_ms - stack.clock.now_ms() - 20) / 1000))
    for order in orders:
        codes[order] = await caller.step(item, "confirm", order, "pay")
    await until(lambda: _in_state(caller, item, late, OrderState.EXPIRED))
    codes[late] = await caller.step(item, "confirm", late, "pay")
    states = {order: await caller.state(item, order) for order in codes}
    assert states == {order: OrderState.CONFIRMED if codes[order] == "A" else OrderState.EXPIRED for order in codes}
    assert (codes[early], codes[late]) == ("A", "N")

    async def settled() -> bool:
        standing = await stack.ledger.standing(item.id)
        return (standing.held, standing.sold) == (0, list(codes.values()).count("A"))

    await until(settled)
    await _audited(stack)


async def test_what_is_away_or_fenced_is_in_nobodys_way(stack: Stack, caller: Caller) -> None:
    item = await stack.item(partitions=3)
    loop = stack.run(stack.new_relay(), stack.new_applier())
    for partition in range(3):
        assert await caller.hold(item, *_at(partition, 3, 2), ttl_ms=1) == "AA"
    await until(lambda: _held(stack, item, 6))
    await stack.shard.disarm(PartitionRef(item.id, 1), 1, seal=False)
    reaper = stack.new_reaper()
    await reaper.sweep()
    assert [(await stack.status(item, n)).holds for n in range(3)] == [0, 2, 0]
    running = stack.run(reaper)
    stack.server.kill()
    await asyncio.sleep(0.1)
    stack.server.start()
    stack.run(stack.new_recoverer())
    await until(lambda: _all_back(stack, item))
    assert not running.failures
    assert not loop.failures


async def test_holds_of_an_earlier_incarnation_end_in_the_next(stack: Stack, caller: Caller) -> None:
    item = await stack.item()
    await caller.hold(item, "a", "b", ttl_ms=400)
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_recoverer(lost_after_ms=0, quarantine_ms=100))
    await until(lambda: _held(stack, item, 2))
    await stack.client.flushall()
    stack.run(stack.new_reaper())
    await until(lambda: _in_state(caller, item, "a", OrderState.EXPIRED))
    await until(lambda: _all_back(stack, item))
    rows = await stack.ledger.partitions(item.id)
    assert [row.held for row in rows] == [2, -2]
    await _audited(stack)


async def test_records_are_forgotten_when_they_are_old_and_booked(stack: Stack, caller: Caller) -> None:
    item = await stack.item()
    await caller.hold(item, "a", "b", "c")
    await caller.deduct(item, "kept")
    for order in ("a", "b"):
        assert await caller.step(item, "release", order) == "A"
    old = stack.new_reaper(retention_ms=0)
    await stack.new_reaper().forget()
    await old.forget()
    assert await caller.state(item, "a") is OrderState.RELEASED, "the ledger does not have it yet"
    stack.run(stack.new_relay(), stack.new_applier())

    async def forgotten() -> bool:
        await old.forget()
        return await caller.state(item, "a") is None

    await until(forgotten)
    assert [await caller.state(item, order) for order in ("b", "c", "kept")] == [
        None,
        OrderState.HELD,
        OrderState.CONFIRMED,
    ]
    # It is a new order then, and the ledger takes it as another attempt.
    assert await caller.hold(item, "a") == "A"
    await until(lambda: _held(stack, item, 2))
    detail = await stack.ledger.order(item.id, "a", "")
    assert detail is not None
    assert (detail.attempt, detail.state) == (2, "held")
    await _audited(stack)


async def test_not_more_records_are_kept_than_there_may_be(stack: Stack, caller: Caller) -> None:
    item = await stack.item()
    orders = _at(0, 1, 700)
    await caller.hold(item, *orders, ttl_ms=1)
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_reaper(forget_interval_ms=20, keep=30))

    async def few() -> bool:
        return (await stack.status(item)).orders == 30

    await until(few)
    await _audited(stack)


async def test_a_partition_that_missed_a_pause_gets_it(stack: Stack, caller: Caller) -> None:
    """Whoever paused the item died after the ledger's row, or could not reach it."""
    items = [await stack.item(partitions=2)]
    await stack.ledger.set_item_state(items[0].id, "paused")
    assert await caller.deduct(items[0], "early") == "A"
    await stack.shard.disarm(PartitionRef(items[0].id, 1), 1, seal=False)
    reaper = stack.new_reaper()
    await reaper.configure()
    assert [(await stack.status(items[0], n)).version for n in range(2)] == [2, 1]
    await stack.new_recoverer().look()
    assert (await stack.status(items[0], 1)).version == 2, "who arms it again tells it"
    await stack.ledger.set_item_state(items[0].id, "open")
    await reaper.configure()
    assert [(await stack.status(items[0], n)).version for n in range(2)] == [3, 3]

"""The replenisher: stock moves to demand, whatever crashed in between, and however many do it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from tests.support.engines import Bench, open_bench, outcomes
from tests.support.faulty import Faults, faulty_stack
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import Outcome
from hotsku.app import running_workers
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import ItemSpec
from hotsku.domain.routing import home
from hotsku.ports import Ask, Grant, Needs, News, Refill, Work
from hotsku.workers.replenisher import Replenisher

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


def _name(partition: int, partitions: int, nth: int = 0) -> str:
    """An order whose home is that partition."""
    names = (f"n-{n}" for n in range(100_000) if home(f"n-{n}", "", partitions) == partition)
    for _ in range(nth):
        next(names)
    return next(names)


async def _item_id(bench: Bench, sku: str = "sku") -> int:
    item = await bench.stack.ledger.item(sku)
    assert item is not None
    return item.id


async def test_stock_is_leased_ahead_of_demand(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 4000, partitions=2)
    before = await engine.partitions("sku")
    sold = 0

    async def refilled() -> bool:
        nonlocal sold
        await asyncio.gather(*(engine.deduct("sku", 1, order_id=f"o-{sold + n}") for n in range(50)))
        sold += 50
        after = await engine.partitions("sku")
        return all(b.leases < a.leases for b, a in zip(before, after, strict=True))

    await until(refilled)
    assert sold < 3000  # before the first leases were gone
    assert all(view.left_a + view.left_b > 0 for view in await engine.partitions("sku"))
    await bench.settled("sku", sold)


async def test_a_refill_goes_into_the_standby_alone(bench: Bench) -> None:
    engine = await bench.engine()
    view = await engine.create_item("sku", 1000, partitions=1)
    assert view.pool == 250
    ref = PartitionRef(await _item_id(bench), 0)
    await engine.deduct_many("sku", [{"order_id": f"o-{n}"} for n in range(600)])
    before = await bench.shard.status(ref)
    await bench.workers()
    await until(lambda: _refilled(bench, ref, before.lease_no))
    after = await bench.shard.status(ref)
    active = f"left_{before.active}"
    assert (after.active, getattr(after, active)) == (before.active, getattr(before, active))


async def _refilled(bench: Bench, ref: PartitionRef, lease_no: int) -> bool:
    status = await bench.shard.status(ref)
    refill = Refill(ref=ref, incarnation=1, taken=status.taken, at_ms=status.now_ms)
    bench.stack.signals.publish(Needs(engine_id="e", no=1, refills=[refill]))
    return (await bench.shard.status(ref)).lease_no > lease_no


async def test_a_lease_that_was_never_installed_is(bench: Bench) -> None:
    """The crash between the ledger's transaction and the shard: by a worker that starts, and by one that runs."""
    engine = await bench.engine()
    await engine.create_item("sku", 100, partitions=2)
    refs = [PartitionRef(await _item_id(bench), n) for n in range(2)]
    for workers_run in (False, True):
        rows = [await bench.stack.ledger.partition(ref) for ref in refs]
        leases = await bench.stack.ledger.lease([Grant(row.ref, 1, row.lease_no, 3) for row in rows if row], 0)
        assert leases is not None
        if not workers_run:
            await bench.workers()
        else:
            ask = Ask(ref=refs[0], incarnation=1, waiting=1, smallest=1, age_ms=0)
            bench.stack.signals.publish(Needs(engine_id="e", no=1, asks=[ask]))
        for lease in leases:
            await until(lambda ref=lease.ref, no=lease.no: _installed(bench, ref, no))  # type: ignore[misc]
    assert (await engine.audit()).ok


async def _installed(bench: Bench, ref: PartitionRef, no: int) -> bool:
    return (await bench.shard.status(ref)).lease_no >= no


@pytest.mark.parametrize("begun", [0, 1, 2, 3])
async def test_an_item_whose_creator_died_is_opened(bench: Bench, begun: int) -> None:
    """`begun`: how far it came. 0: only the ledger has it; 1: one partition was begun; 2: opened; 3: leased to."""
    await _die_creating(bench, begun)
    await bench.workers()
    await until(lambda: _open(bench))
    engine = await bench.engine()
    assert (await engine.deduct("sku", 1, order_id="o")).outcome is Outcome.ACCEPTED
    assert (await engine.audit()).ok


@pytest.mark.parametrize("begun", [0, 1, 2, 3])
async def test_an_engine_opens_what_it_finds_half_made(bench: Bench, begun: int) -> None:
    await _die_creating(bench, begun)
    engines = [await bench.engine() for _ in range(2)]
    answers = await asyncio.gather(*(e.deduct("sku", 1, order_id=f"o-{n}") for n in range(10) for e in engines))
    assert outcomes(answers) == {"accepted": 20}
    assert await _open(bench)
    await engines[0].create_item("sku", 400, partitions=2)
    assert (await engines[0].audit()).ok


async def _die_creating(bench: Bench, begun: int) -> None:
    item = (await bench.stack.ledger.create_item(ItemSpec(sku="sku", total=400, partitions=2), "durable", 0)).item
    ref = PartitionRef(item.id, 1)
    if begun >= 1:
        await bench.shard.begin(ref, 1, item, await bench.shard.memory(ref))
    if begun >= 2:
        await bench.stack.ledger.open_partition(ref, 1)
    if begun >= 3:
        assert await bench.stack.ledger.lease([Grant(ref, 1, 0, 50)], 0)


async def _open(bench: Bench) -> bool:
    rows = await bench.stack.ledger.partitions(await _item_id(bench))
    return all(row.state == "open" and row.lease_no for row in rows)


async def test_the_last_units_meet_who_wants_them_from_three_places(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 18, partitions=3)  # 3 and 1 in the buckets of each, 6 in the pool
    for quantity in (1, 4):
        for partition in range(3):
            answer = await engine.deduct("sku", quantity, order_id=_name(partition, 3, quantity))
            assert answer.outcome is Outcome.ACCEPTED
    # Whatever lies where: one buyer takes exactly what is left.
    assert (await engine.deduct("sku", 3, order_id="last")).outcome is Outcome.ACCEPTED
    await bench.settled("sku", 18)


async def test_fragments_in_three_partitions_go_to_one_buyer(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 3, partitions=3)  # all in the pool
    refs = [PartitionRef(await _item_id(bench), n) for n in range(3)]
    leases = await bench.stack.ledger.lease([Grant(ref, 1, 0, 1) for ref in refs], 0)
    assert leases
    await bench.workers()
    answer = await engine.deduct("sku", 3, order_id="o")
    assert answer.outcome is Outcome.ACCEPTED
    assert (await engine.deduct("sku", 1, order_id="p")).outcome is Outcome.SOLD_OUT
    await bench.settled("sku", 3)
    returned = sum(row.returned for row in await bench.stack.ledger.partitions(refs[0].item_id))
    assert returned == 2


async def test_sold_out_waits_neither_for_the_timer_nor_for_the_ledger(bench: Bench) -> None:
    """Where shards have sold every unit, nobody need wait until the ledger has booked it."""
    await bench.workers(["replenisher"])
    engine = await bench.engine()
    await engine.create_item("sku", 40, partitions=4)
    answers = await asyncio.gather(*(engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(60)))
    assert outcomes(answers) == {"accepted": 40, "sold_out": 20}
    standing = await bench.stack.ledger.standing(await _item_id(bench))
    assert (standing.sold, standing.actual) == (0, 40)  # the ledger knows nothing of it yet
    assert {a.available for a in answers if a.outcome is Outcome.SOLD_OUT} == {0}
    too_many = await engine.deduct("sku", 3, order_id="more")
    assert (too_many.outcome, too_many.available) == (Outcome.SOLD_OUT, 0)
    await bench.workers(["relay", "applier"])
    await bench.settled("sku", 40)


async def test_what_the_ledger_books_meanwhile_never_makes_it_say_sold_out_too_soon(bench: Bench) -> None:
    """`available` is read while the applier works: each News must leave room for what is still unsold."""
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 3000, partitions=5)
    item_id = await _item_id(bench)
    lies: list[tuple[int, int]] = []
    sold = 0

    def check(news: News) -> None:
        if news.item_id == item_id and news.available is not None and news.available < 3000 - sold - in_flight:
            lies.append((news.available, sold))

    bench.stack.signals.subscribe(news=check)
    await bench.stack.signals.listening()
    in_flight = 50
    ref = PartitionRef(item_id, 0)
    for wave in range(58):
        calls = [engine.deduct("sku", 1, order_id=f"o-{wave}-{n}") for n in range(50)]
        ask = Ask(ref=ref, incarnation=1, waiting=1, smallest=1, age_ms=0)
        bench.stack.signals.publish(Needs(engine_id="e", no=wave + 1, asks=[ask]))
        bench.stack.signals.publish(Work(flush=[PartitionRef(item_id, n) for n in range(5)]))
        answers = await asyncio.gather(*calls)
        sold += sum(a.outcome is Outcome.ACCEPTED for a in answers)
    assert sold == 2900
    assert lies == []
    await bench.settled("sku", 2900)


async def test_two_replenishers_do_no_harm(bench: Bench) -> None:
    await bench.workers()
    await bench.workers()
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 1003, partitions=6)
    calls = [e.deduct("sku", 1 + n % 5, order_id=f"o-{n}-{i}") for n in range(300) for i, e in enumerate(engines)]
    answers = await asyncio.gather(*calls)
    sold = sum(a.quantity for a in answers if a.outcome is Outcome.ACCEPTED)
    refused = [a.quantity for a in answers if a.outcome is not Outcome.ACCEPTED]
    assert sold <= 1003
    assert 1003 - sold < min(refused)
    await bench.settled("sku", sold)


async def test_a_back_end_that_refuses_for_a_while_does_not_end_the_role(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Else every item would wait until the role is started again, later each time."""
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)
    ref = PartitionRef(await _item_id(bench), 0)
    await bench.workers(["replenisher"])

    async def asked_until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
        async def ask_and_look() -> bool:
            ask = Ask(ref=ref, incarnation=1, waiting=1, smallest=1, age_ms=0)
            bench.stack.signals.publish(Needs(engine_id="e", no=1, asks=[ask]))
            holds = condition()
            return holds if isinstance(holds, bool) else await holds

        await until(ask_and_look)

    await bench.stack.shards.client.config_set("maxmemory", 1)  # installs are refused
    try:
        await asked_until(lambda: caplog.text.count("OOM") > 0)
        await asyncio.sleep(0.2)
    finally:
        await bench.stack.shards.client.config_set("maxmemory", 0)
    await asked_until(lambda: _installed(bench, ref, 1))
    assert "a role failed" not in caplog.text
    assert caplog.text.count("OOM") == 1  # said once


async def test_a_closed_item_gets_nothing_more(bench: Bench) -> None:
    """Whoever asks for it hears that nothing is left; nothing is leased, reclaimed or looked for."""
    engine = await bench.engine()
    await engine.create_item("sku", 1000, partitions=2)
    item_id = await _item_id(bench)
    refs = [PartitionRef(item_id, n) for n in range(2)]
    await bench.stack.ledger.set_item_state(item_id, "closed")
    before = [await bench.shard.status(ref) for ref in refs]
    news: list[News] = []
    bench.stack.signals.subscribe(news=news.append)
    loop = await bench.workers(["replenisher"])
    replenisher = loop.roles[0]
    assert isinstance(replenisher, Replenisher)

    def told() -> bool:
        ask = Ask(ref=refs[0], incarnation=1, waiting=5000, smallest=5000, age_ms=0)
        refill = Refill(ref=refs[1], incarnation=1, taken=500, at_ms=before[1].now_ms)
        bench.stack.signals.publish(Needs(engine_id="e", no=1, asks=[ask], refills=[refill]))
        return any(one.available == 0 and one.heard == {"e": 1} for one in news)

    await until(told)
    assert (replenisher.counts["leases"], replenisher.counts["reclaims"]) == (0, 0)
    after = [await bench.shard.status(ref) for ref in refs]
    assert [(each.left, each.lease_no, each.seq) for each in after] == [
        (each.left, each.lease_no, each.seq) for each in before
    ]


async def test_it_starts_while_the_ledger_is_away(bench: Bench) -> None:
    """That is waited for, as later on; it is no failure of the role."""
    faults = Faults(Random(0))
    faults.ledger_away = True
    engine = await bench.engine()
    await engine.create_item("sku", 4000, partitions=2)
    async with running_workers(faulty_stack(bench.stack, faults), ["replenisher"]) as loop:
        await until(lambda: faults.refused > 1)
        faults.ledger_away = False
        answers = await asyncio.gather(*(engine.deduct("sku", 1, order_id=f"o-{number}") for number in range(3900)))
        assert outcomes(answers) == {"accepted": 3900}
        assert not loop.failures

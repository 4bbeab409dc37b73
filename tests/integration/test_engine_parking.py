"""Orders that wait for stock: who is first, what they ask for, and how their waiting ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.engines import Bench, open_bench, outcomes
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import Deduction, Outcome, Overloaded
from hotsku.domain.events import PartitionRef
from hotsku.engine.timing import Timing
from hotsku.ports import Ask, Grant, Needs, News
from hotsku.stocking import install, lease_and_install

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


class Asks:
    """The asks that engines publish."""

    def __init__(self, bench: Bench) -> None:
        self.heard: list[Ask] = []
        bench.stack.signals.subscribe(needs=self._hear)

    def _hear(self, needs: Needs) -> None:
        self.heard += needs.asks

    async def next(self) -> Ask:
        """The next ask that comes."""
        self.heard.clear()
        await until(lambda: bool(self.heard))
        return self.heard[-1]


async def _partition(bench: Bench, sku: str = "sku") -> PartitionRef:
    item = await bench.stack.ledger.item(sku)
    assert item is not None
    return PartitionRef(item.id, 0)


async def _lease(bench: Bench, ref: PartitionRef, quantity: int, *, tell: bool = True) -> None:
    """Give the partition units of the pool, as a round does."""
    status = await bench.shard.status(ref)
    grant = Grant(ref, 1, status.lease_no, quantity)
    assert await lease_and_install(bench.stack.ledger, bench.shard, bench.stack.clock, [grant])
    if tell:
        bench.stack.signals.publish(News(installed=[(ref, quantity)]))


async def test_the_first_come_is_the_first_served_and_newcomers_wait_behind(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 9, partitions=1)  # 4 and 2 units in the buckets, 3 in the pool
    ref, order = await _partition(bench), []

    async def buy(name: str, quantity: int) -> Deduction:
        answer = await engine.deduct("sku", quantity, order_id=name)
        order.append(name)
        return answer

    await buy("zero", 5)
    assert (await bench.shard.status(ref)).left == 1
    asks = Asks(bench)
    first = asyncio.create_task(buy("first", 3))
    ask = await asks.next()
    assert (ask.waiting, ask.smallest) == (2, 2)
    second = asyncio.create_task(buy("second", 1))  # one unit is there, and it is not for this one
    await until(lambda: bool(asks.heard) and asks.heard[-1].waiting == 3)
    assert asks.heard[-1].smallest == 2
    assert asks.heard[-1].age_ms > 0
    await _lease(bench, ref, 1)
    await until(lambda: bool(asks.heard) and (asks.heard[-1].waiting, asks.heard[-1].smallest) == (2, 1))
    assert order == ["zero"]
    await _lease(bench, ref, 2)
    assert outcomes(await asyncio.gather(first, second)) == {"accepted": 2}
    assert order == ["zero", "first", "second"]
    assert (await bench.shard.status(ref)).taken == 9


async def test_units_that_come_without_a_word_are_found_soon(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)
    waiting = asyncio.create_task(engine.deduct("sku", 1, order_id="o"))
    await Asks(bench).next()
    await _lease(bench, await _partition(bench), 1, tell=False)
    assert (await waiting).outcome is Outcome.ACCEPTED


async def test_a_machine_that_stands_still_uses_up_nobodys_patience(bench: Bench) -> None:
    engine = await bench.engine(timing=Timing(patience_ms=2_500, deadline_ms=1_000, retry_ms=1_000))
    await engine.create_item("sku", 1, partitions=1)
    waiting = asyncio.create_task(engine.deduct("sku", 1, order_id="o"))
    await Asks(bench).next()
    await _lease(bench, await _partition(bench), 1, tell=False)
    time.sleep(3)  # noqa: ASYNC251 - nothing else may go on
    assert (await waiting).outcome is Outcome.ACCEPTED


async def test_the_next_who_finds_nothing_is_told_of_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only with the next of the asks that are repeated: here they never are."""
    monkeypatch.setattr("hotsku.engine.engine.ASK_INTERVAL_MS", 3_600_000)
    engine = await bench.engine()
    await engine.create_item("sku", 20, partitions=1)
    ref, asks = await _partition(bench), Asks(bench)
    await engine.deduct("sku", (await bench.shard.status(ref)).left, order_id="all")
    for n in range(5):
        asks.heard.clear()
        waiting = asyncio.create_task(engine.deduct("sku", 1, order_id=f"o-{n}"))
        await until(lambda: bool(asks.heard))
        await _lease(bench, ref, 1)
        assert (await waiting).outcome is Outcome.ACCEPTED


async def test_sold_out_is_said_when_it_is_true_and_insufficient_says_how_many(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 5, partitions=2)
    too_many = await engine.deduct("sku", 6, order_id="o-1")
    assert (too_many.outcome, too_many.available) == (Outcome.INSUFFICIENT, 5)
    assert (await engine.deduct("sku", 4, order_id="o-2")).outcome is Outcome.ACCEPTED
    too_many = await engine.deduct("sku", 2, order_id="o-3")
    assert (too_many.outcome, too_many.available, too_many.state) == (Outcome.INSUFFICIENT, 1, None)
    assert (await engine.deduct("sku", 1, order_id="o-4")).outcome is Outcome.ACCEPTED
    none = await engine.deduct("sku", 1, order_id="o-5")
    assert (none.outcome, none.available) == (Outcome.SOLD_OUT, 0)
    assert (await engine.deduct("sku", 4, order_id="o-2")).replayed  # an accepted order hears its answer again
    await bench.settled("sku", 5)


async def test_a_large_order_that_is_refused_does_not_hold_up_those_behind(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 3, partitions=1)
    calls = [engine.deduct("sku", quantity, order_id=f"o-{n}") for n, quantity in enumerate((9, 2, 9, 1, 9, 1))]
    answers = await asyncio.gather(*calls)
    assert [a.outcome.value for a in answers] == [
        "insufficient",
        "accepted",
        "insufficient",
        "accepted",
        answers[4].outcome.value,  # whatever was left when it was looked at
        "sold_out",
    ]
    assert answers[4].outcome is not Outcome.ACCEPTED
    await bench.settled("sku", 3)


async def test_without_a_worker_the_wait_ends_in_no_lie(bench: Bench) -> None:
    engine = await bench.engine(timing=Timing(patience_ms=300, deadline_ms=200))
    await engine.create_item("sku", 1, partitions=1)  # the unit stays in the pool
    calls = [engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(3)]
    many = asyncio.create_task(engine.deduct_many("sku", [{"order_id": "b-1"}, {"order_id": "b-2"}]))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes([*answers, *await many]) == {"Overloaded": 5}
    assert isinstance((await many)[0], Overloaded)
    assert (await bench.shard.status(await _partition(bench))).taken == 0
    await bench.workers()  # it is back
    patient = await bench.engine()
    assert (await patient.deduct("sku", 1, order_id="o-0")).outcome is Outcome.ACCEPTED
    assert (await patient.deduct("sku", 1, order_id="o-1")).outcome is Outcome.SOLD_OUT


async def test_sold_out_is_unsaid_when_units_come_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotsku.engine.standing._SOLD_OUT_TRUSTED_MS", 3_600_000)
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)
    ref, asks = await _partition(bench), Asks(bench)
    waiting = asyncio.create_task(engine.deduct("sku", 1, order_id="o-1"))
    await asks.next()
    bench.stack.signals.publish(News(item_id=ref.item_id, available=0, heard={bench.engine_ids[0]: 10**6}))
    assert (await waiting).outcome is Outcome.SOLD_OUT
    # What the engine knows spares the parking, for a moment.
    assert (await engine.deduct("sku", 1, order_id="o-2")).outcome is Outcome.SOLD_OUT
    leases = await bench.stack.ledger.lease([Grant(ref, 1, 0, 1)], 0)
    assert leases
    await install(bench.shard, leases[0])
    bench.stack.signals.publish(News(installed=[(ref, 1)]))
    # Even without the news: the shard is asked first.
    assert (await engine.deduct("sku", 1, order_id="o-3")).outcome is Outcome.ACCEPTED


async def test_a_verdict_counts_only_for_those_whom_the_worker_knew(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 1, partitions=1)
    ref, asks = await _partition(bench), Asks(bench)
    waiting = asyncio.create_task(engine.deduct("sku", 1, order_id="o-1"))
    await asks.next()
    bench.stack.signals.publish(News(item_id=ref.item_id, available=0, heard={"somebody else": 10**6}))
    bench.stack.signals.publish(News(installed=[(ref, 0)]))  # and the standing is not trusted any more
    await asks.next()
    await asks.next()
    assert not waiting.done()
    await _lease(bench, ref, 1)
    assert (await waiting).outcome is Outcome.ACCEPTED


async def test_more_than_a_batch_of_orders_may_wait(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 2400, partitions=1)
    calls = [engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(3000)]
    answers = await asyncio.gather(*calls)
    assert outcomes(answers) == {"accepted": 2400, "sold_out": 600}
    await bench.settled("sku", 2400)

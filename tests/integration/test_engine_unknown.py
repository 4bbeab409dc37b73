"""Connections that break at the worst moment: nothing is sold twice, nobody who was told a no is sold to later."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis.asyncio
from tests.support.engines import Bench, accepted_units, decided, open_bench, outcomes
from tests.support.proxy import Fault, Proxy, running_proxy
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import BackendUnavailable, Deduction, Outcome, OutcomeUnknown
from hotsku.domain.events import PartitionRef
from hotsku.domain.routing import order_field
from hotsku.engine.timing import Timing
from hotsku.ports import Grant, News
from hotsku.shard import library
from hotsku.stocking import lease_and_install

pytestmark = pytest.mark.anyio

QUICK = Timing(patience_ms=60_000, deadline_ms=300, margin_ms=100, retry_ms=50)


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def proxy(module_valkey: TestServer) -> AsyncIterator[Proxy]:
    path = module_valkey.socket.with_name("p")
    async with running_proxy(module_valkey.socket, path) as made:
        yield made


def _socket(bench: Bench) -> Path:
    return bench.server.socket.with_name("p")


def _hold_next(proxy: Proxy) -> None:
    """Hold the next call back, and lose what the engine sends after it until the test ends the cut.

    Else the call that is sent again after `retry_ms` would be quicker than the test where the machine stands still.
    """
    proxy.faults.append("hold")
    proxy.cut = True


async def _item_id(bench: Bench) -> int:
    item = await bench.stack.ledger.item("sku")
    assert item is not None
    return item.id


@pytest.mark.parametrize("fault", ["lose reply", "lose call", "hold"])
async def test_a_lost_call_is_sent_again_and_sells_once(bench: Bench, proxy: Proxy, fault: Fault) -> None:
    await bench.workers()
    engine = await bench.engine(via=_socket(bench))
    await engine.create_item("sku", 10, partitions=1)
    proxy.faults.append(fault)
    answer = await engine.deduct("sku", 2, order_id="o")
    assert (answer.outcome, answer.replayed) == (Outcome.ACCEPTED, fault == "lose reply")
    for late in await proxy.release():
        assert b"R" in late  # it met its own record
    await bench.settled("sku", 2)
    assert await bench.order_rows("sku") == {("", "o", 2): 1}


async def test_a_no_is_not_final_until_the_lost_call_cannot_sell(bench: Bench, proxy: Proxy) -> None:
    await bench.workers()
    engine = await bench.engine(via=_socket(bench), timing=QUICK)
    other = await bench.engine()
    await other.create_item("sku", 2, partitions=1, limit_per_buyer=1)
    _hold_next(proxy)
    began = time.monotonic()
    first = asyncio.create_task(engine.deduct("sku", 1, order_id="o-1", buyer_id="b"))
    await until(lambda: proxy.calls >= 1)
    assert (await other.deduct("sku", 1, order_id="o-2", buyer_id="b")).outcome is Outcome.ACCEPTED
    proxy.cut = False
    answer = await first  # over the limit, as the shard says again and again
    assert answer.outcome is Outcome.LIMIT_EXCEEDED
    assert time.monotonic() - began >= 0.4
    assert b"LATE" in (await proxy.release())[0]

    _hold_next(proxy)
    began = time.monotonic()
    second = asyncio.create_task(engine.deduct("sku", 1, order_id="o-3", buyer_id="c"))
    await until(lambda: not proxy.faults)
    assert (await other.deduct("sku", 1, order_id="o-4", buyer_id="d")).outcome is Outcome.ACCEPTED
    proxy.cut = False
    assert (await second).outcome is Outcome.SOLD_OUT
    assert time.monotonic() - began >= 0.4
    assert b"LATE" in (await proxy.release())[0]
    await bench.settled("sku", 2)


async def test_a_call_that_sold_late_is_not_told_sold_out(bench: Bench, proxy: Proxy) -> None:
    """The lost call sells the last unit; meanwhile the engine cannot ask the shard, but hears that nothing is left."""
    # The lost call is in time also where the machine stands still; the stuck one is given up when that time is over.
    timing = Timing(patience_ms=60_000, deadline_ms=10_000, margin_ms=100, retry_ms=50)
    engine = await bench.engine(via=_socket(bench), timing=timing, call_timeout_s=12.0)
    other = await bench.engine()
    await other.create_item("sku", 2, partitions=1)  # one unit in the partition, one in the pool
    ref = PartitionRef(await _item_id(bench), 0)
    _hold_next(proxy)
    first = asyncio.create_task(engine.deduct("sku", 1, order_id="o-1"))
    await until(lambda: proxy.calls >= 1)
    assert (await other.deduct("sku", 1, order_id="o-2")).outcome is Outcome.ACCEPTED
    proxy.cut, lost = False, proxy.calls
    await until(lambda: proxy.calls >= lost + 3)  # dry, parked, and tried again
    proxy.about, proxy.faults = b"o-3", deque(["stuck"])
    third = asyncio.create_task(engine.deduct("sku", 1, order_id="o-3"))
    await until(lambda: not proxy.faults)
    await lease_and_install(bench.stack.ledger, bench.shard, bench.stack.clock, [Grant(ref, 1, 1, 1)])
    late = (await proxy.release())[0]
    assert b"A" in late
    assert b"LATE" not in late
    until_ms = bench.stack.clock.monotonic_ms() + 10_300  # past the deadline of the lost call
    while bench.stack.clock.monotonic_ms() < until_ms:
        bench.stack.signals.publish(News(item_id=ref.item_id, available=0, heard={bench.engine_ids[0]: 10**6}))
        await asyncio.sleep(0.1)
    assert not first.done()
    answer = await first
    assert (answer.outcome, answer.replayed) == (Outcome.ACCEPTED, True)
    await bench.workers()
    assert (await third).outcome is Outcome.SOLD_OUT
    await bench.settled("sku", 2)


async def test_what_stays_unknown_is_said_so_and_a_retry_resolves_it(bench: Bench, proxy: Proxy) -> None:
    await bench.workers()
    timing = Timing(patience_ms=500, deadline_ms=60_000, margin_ms=100)  # what is lost was in time
    engine = await bench.engine(via=_socket(bench), timing=timing, call_timeout_s=0.2)
    await engine.create_item("sku", 10, partitions=1)
    await engine.deduct("sku", 1, order_id="o-0")
    proxy.faults.extend(["lose reply", *["stuck"] * 10])  # type: ignore[list-item]
    with pytest.raises(OutcomeUnknown, match="o-1"):
        await engine.deduct("sku", 1, order_id="o-1")
    proxy.faults.clear()
    again = await engine.deduct("sku", 1, order_id="o-1")
    assert (again.outcome, again.replayed) == (Outcome.ACCEPTED, True)
    await bench.settled("sku", 2)


async def test_a_shard_that_is_away_is_said_and_nothing_was_sold(valkey: TestServer, tmp_path: Path) -> None:
    async with open_bench(valkey, tmp_path) as bench:
        engine = await bench.engine(timing=Timing(patience_ms=300, deadline_ms=200, margin_ms=50))
        await engine.create_item("sku", 10, partitions=1)
        await engine.deduct("sku", 1, order_id="o-0")
        valkey.kill()
        calls = [engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(1, 6)]
        many = asyncio.create_task(engine.deduct_many("sku", [{"order_id": "x"}]))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes([*answers, *await many]) == {"BackendUnavailable": 6}
        with pytest.raises(BackendUnavailable):
            await engine.order("sku", "o-0")
        valkey.start()
        with pytest.raises(BackendUnavailable):  # fenced, and nobody is there to prove its memory
            await engine.deduct("sku", 1, order_id="o-1")
        await bench.workers()
        assert not (await decided(lambda: engine.deduct("sku", 1, order_id="o-1"))).replayed
        assert (await engine.deduct("sku", 1, order_id="o-0")).replayed
        await bench.settled("sku", 2)


async def test_of_an_order_nobody_tells_from_a_memory_that_is_not_whole(bench: Bench) -> None:
    """The ledger does not have the order yet: that it has none says nothing."""
    engine = await bench.engine()
    await engine.create_item("sku", 10, partitions=1)
    await engine.deduct("sku", 1, order_id="o-1")
    assert (await engine.order("sku", "o-1")).outcome is Outcome.ACCEPTED
    ref, client = PartitionRef(await _item_id(bench), 0), bench.stack.shards.client
    assert isinstance(client, redis.asyncio.Redis)
    await client.delete(bench.stack.keys.partition(ref).orders)
    for order_id in ("o-1", "o-2"):
        with pytest.raises(BackendUnavailable):
            await engine.order("sku", order_id)


async def test_a_storm_of_faults_sells_every_unit_once(bench: Bench, proxy: Proxy) -> None:
    await bench.workers()
    engine = await bench.engine(via=_socket(bench), timing=QUICK, call_timeout_s=0.15)
    other = await bench.engine()
    await engine.create_item("sku", 157, partitions=3)
    kinds: list[Fault] = ["lose reply", "hold", "lose call", "stuck"]
    answers: list[Deduction | BaseException] = []
    for wave in range(12):
        proxy.faults.extend(kinds[(wave + i) % 4] for i in range(2))
        numbers = range(wave * 12, wave * 12 + 16)  # the last four come again in the next wave
        calls = [e.deduct("sku", 1 + n % 3, order_id=f"o-{n}") for n in numbers for e in (engine, other)]
        answers += await asyncio.gather(*calls, return_exceptions=True)
        await proxy.release()
    proxy.faults.clear()
    assert outcomes(answers).keys() <= {"accepted", "sold_out", "insufficient", "OutcomeUnknown"}
    resolved = await asyncio.gather(*(other.deduct("sku", 1 + n % 3, order_id=f"o-{n}") for n in range(150)))
    assert accepted_units([*answers, *resolved]) == accepted_units(resolved) == 157
    await bench.settled("sku", 157)
    rows = await bench.order_rows("sku")
    assert {(a.order_id, a.quantity) for a in resolved if a.outcome == "accepted"} == {row[1:] for row in rows}
    refused = {a.order_id for a in answers if isinstance(a, Deduction) and a.outcome != "accepted"}
    assert not refused & {order for _, order, _ in rows}


async def test_what_a_memory_did_that_has_forgotten_is_unknown(valkey: TestServer, tmp_path: Path) -> None:
    """The disk lost what it had confirmed, and somebody armed the partition. The order is in its stream even so."""
    async with open_bench(valkey, tmp_path) as bench:
        engine = await bench.engine(timing=Timing(patience_ms=300, deadline_ms=200, margin_ms=50))
        await engine.create_item("sku", 1_000, partitions=1)
        await engine.reserve("sku", 1, order_id="held")
        ref, client = PartitionRef(await _item_id(bench), 0), bench.stack.shards.client
        assert isinstance(client, redis.asyncio.Redis)
        early = {key: await client.dump(key) or b"" for key in bench.stack.keys.partition(ref).all()}
        for number in range(9):
            await engine.deduct("sku", 1, order_id=f"o-{number}")
        for key, dumped in early.items():
            await client.delete(key)
            if dumped:
                await client.restore(key, 0, dumped)
        await library.replace(client)
        assert await bench.shard.arm(ref, 1, 1, await bench.shard.memory(ref))
        with pytest.raises(OutcomeUnknown, match="new"):
            await engine.deduct("sku", 1, order_id="new")
        with pytest.raises(OutcomeUnknown, match="held"):
            await engine.confirm("sku", order_id="held")
        records = [(await bench.shard.order(ref, order_field(name, "")))[0] for name in ("new", "held")]
        assert [record and record.state for record in records] == ["confirmed", "confirmed"]

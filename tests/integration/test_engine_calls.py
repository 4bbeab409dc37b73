"""Two calls under way at once: what they share is the connection, and nothing else."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.engines import Bench, open_bench, outcomes
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import Deduction
from hotsku.domain.routing import home
from hotsku.engine.inventory import Inventory
from hotsku.engine.timing import Timing
from hotsku.errors import BackendUnavailable, InvalidRequest, OutcomeUnknown

pytestmark = pytest.mark.anyio

# The orders whose homes are the two partitions of the item.
HERE, THERE = ([f"o-{n}" for n in range(1000) if home(f"o-{n}", "", 2) == partition] for partition in (0, 1))

# So many orders are worth two calls.
MANY = 200


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def proxy(module_valkey: TestServer) -> AsyncIterator[Proxy]:
    async with running_proxy(module_valkey.socket, module_valkey.socket.with_name("r")) as made:
        yield made


async def _engine(bench: Bench, timing: Timing | None = None) -> Inventory:
    await bench.workers()
    engine = await bench.engine(via=bench.server.socket.with_name("r"), timing=timing)
    await engine.create_item("sku", 1000, partitions=2)
    await engine.deduct_many("sku", [])
    return engine


def _buy(engine: Inventory, order_id: str) -> "asyncio.Task[Deduction]":
    return asyncio.create_task(engine.deduct("sku", 1, order_id=order_id))


async def _two_under_way(engine: Inventory, proxy: Proxy) -> "list[asyncio.Task[Deduction]]":
    """Orders for one partition and an order for the other, sent and not answered: the server is paused."""
    here = [_buy(engine, order) for order in HERE[:MANY]]
    await until(lambda: proxy.calls == 1)
    there = _buy(engine, THERE[0])
    await until(lambda: proxy.calls == 2)
    return [*here, there]


async def test_a_partition_sends_while_another_waits_for_its_reply(bench: Bench, proxy: Proxy) -> None:
    engine = await _engine(bench)
    client = bench.stack.shards.client
    await client.client_pause(120_000, all=False)
    buying = await _two_under_way(engine, proxy)
    buying += [_buy(engine, order) for order in HERE[MANY : MANY + 2]]  # they wait for their partition's batch
    for _ in range(100):
        await asyncio.sleep(0)
    assert proxy.calls == 2
    await client.client_unpause()
    assert outcomes(await asyncio.gather(*buying)) == {"accepted": MANY + 3}
    assert proxy.calls == 3
    await bench.settled("sku", MANY + 3)


async def test_an_order_that_is_bad_hears_so_even_where_nothing_can_be_sent(bench: Bench, proxy: Proxy) -> None:
    """Orders are checked when they are sent; one that never is hears what is wrong with it, not that it may try
    again."""
    engine = await _engine(bench, Timing(patience_ms=1_000))
    proxy.faults.extend(["stuck"] * 50)
    here = _buy(engine, HERE[0])
    await until(lambda: proxy.calls == 1)
    good, bad = _buy(engine, HERE[1]), _buy(engine, next(name for name in _bad_names() if home(name, "", 2) == 0))
    with pytest.raises(InvalidRequest, match="order_id"):
        await bad
    with pytest.raises(BackendUnavailable):
        await good
    here.cancel()
    await asyncio.gather(here, return_exceptions=True)


def _bad_names() -> Iterator[str]:
    return (f"o {number}" for number in itertools.count())


async def test_two_calls_that_are_lost_together_sell_once(bench: Bench, proxy: Proxy) -> None:
    engine = await _engine(bench)
    proxy.faults.append("lose reply")
    buying = [_buy(engine, order) for order in (*HERE[:MANY], *THERE[:MANY])]
    answers = await asyncio.gather(*buying)
    assert outcomes(answers) == {"accepted": 2 * MANY}
    assert answers[0].replayed  # its first reply was lost, and the other call with it
    await bench.settled("sku", 2 * MANY)


async def test_closing_waits_for_both_calls(bench: Bench, proxy: Proxy) -> None:
    engine = await _engine(bench)
    client = bench.stack.shards.client
    await client.client_pause(120_000, all=False)
    buying = await _two_under_way(engine, proxy)
    closing = asyncio.create_task(engine.close())
    await asyncio.sleep(0)
    await client.client_unpause()
    await closing
    assert all(answer.done() for answer in buying)
    assert outcomes(await asyncio.gather(*buying)) == {"accepted": MANY + 1}
    await bench.settled("sku", MANY + 1)


@pytest.mark.parametrize("call", ["hs_deduct", "hs_step"])
async def test_closing_waits_for_nobody_who_has_gone(
    bench: Bench, proxy: Proxy, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leaves while a server hangs would wait for the patience of callers that nobody has any more."""
    monkeypatch.setattr("hotsku.engine.engine._CLOSE_PATIENCE_S", 3_600.0)
    engine = await _engine(bench)
    await engine.reserve("sku", 1, order_id="held")
    proxy.about = call.encode()
    proxy.calls = 0
    proxy.faults.extend(["stuck"] * 50)
    calling = asyncio.create_task(
        engine.deduct("sku", 1, order_id="o-1") if call == "hs_deduct" else engine.confirm("sku", order_id="held")
    )
    await until(lambda: proxy.calls == 1)
    calling.cancel()
    await asyncio.wait([calling])
    async with asyncio.timeout(30):  # the patience is longer
        await engine.close()


async def test_an_item_that_is_loaded_while_the_inventory_closes_is_not_sold(bench: Bench, proxy: Proxy) -> None:
    await bench.workers()
    await (await bench.engine()).create_item("sku", 100, partitions=2)
    engine = await bench.engine(via=bench.server.socket.with_name("r"), call_timeout_s=3.0)
    proxy.about = b"TIME"
    proxy.faults.append("stuck")  # until the call's timeout; then the item is loaded without the server's clock
    buying = _buy(engine, "o-1")
    await until(lambda: proxy.calls == 1)
    await engine.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        await buying


@pytest.mark.usefixtures("proxy")
async def test_callers_who_cannot_listen_silence_nobody(bench: Bench) -> None:
    engine = await _engine(bench)

    def deaf(_: object) -> None:
        raise RuntimeError("deaf")

    for number in range(2):
        engine.offer("sku", 1, order_id=f"deaf-{number}", buyer_id="b", hear=deaf)
    async with asyncio.timeout(60):
        with pytest.raises(OutcomeUnknown):  # it came with them
            await engine.deduct("sku", 1, order_id="o-1", buyer_id="b")
        answer = await engine.deduct("sku", 1, order_id="o-1", buyer_id="b")
    assert outcomes([answer]) == {"accepted": 1}
    assert answer.replayed


async def test_a_server_that_is_away_is_asked_once_whatever_it_has(bench: Bench, proxy: Proxy) -> None:
    """Who opens an item would wait as often for it to answer."""
    await bench.workers()
    await (await bench.engine()).create_item("sku", 100, partitions=8)
    engine = await bench.engine(via=bench.server.socket.with_name("r"))
    proxy.about = b"TIME"
    proxy.faults.extend(["lose call"] * 8)
    assert outcomes([await engine.deduct("sku", 1)]) == {"accepted": 1}
    assert proxy.calls == 1

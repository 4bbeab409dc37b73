"""Where orders go: homes that never change, and partitions that the scheduler chooses for orders without a name."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.engines import Bench, open_bench, outcomes
from tests.support.servers import TestServer

from hotsku import Outcome
from hotsku.domain.item import Routing
from hotsku.domain.routing import home

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


async def test_a_named_order_has_one_home_in_every_engine(bench: Bench) -> None:
    await bench.workers()
    engines = [await bench.engine() for _ in range(2)]
    await engines[0].create_item("sku", 1000, partitions=7, routing="round_robin")
    for n in range(30):
        answers = [await engine.deduct("sku", 1, order_id=f"o-{n}", buyer_id="b" * (n % 3)) for engine in engines]
        assert {a.partition for a in answers} == {home(f"o-{n}", "b" * (n % 3), 7)}
        assert [a.replayed for a in answers] == [False, True]
    by_buyer = [await engines[0].deduct("sku", 1, buyer_id="x") for _ in range(5)]
    assert {a.partition for a in by_buyer} == {home("", "x", 7)}
    assert len({a.order_id for a in by_buyer}) == 5


@pytest.mark.parametrize("routing", ["random", "round_robin"])
async def test_an_order_without_a_name_lives_where_the_scheduler_chose(bench: Bench, routing: Routing) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 800, partitions=4, routing=routing)
    answers = [await engine.deduct("sku") for _ in range(80)]
    assert outcomes(answers) == {"accepted": 80}
    assert len({a.order_id for a in answers}) == 80
    assert all(a.partition == home(a.order_id, "", 4) for a in answers)
    chosen = Counter(a.partition for a in answers)
    assert chosen.keys() == {0, 1, 2, 3}
    assert routing == "random" or set(chosen.values()) == {20}
    again = await engine.deduct("sku", 1, order_id=answers[0].order_id)
    assert (again.replayed, again.partition) == (True, answers[0].partition)


@pytest.mark.parametrize("routing", ["random", "round_robin"])
async def test_a_partition_without_stock_is_not_chosen_until_stock_comes(bench: Bench, routing: Routing) -> None:
    engine = await bench.engine()  # no worker: no stock comes
    await engine.create_item("sku", 160, partitions=4, routing=routing)
    for partition in await engine.partitions("sku"):
        if partition.partition in (1, 3):
            left = partition.left_a + partition.left_b
            names = (f"o-{n}" for n in range(1000) if home(f"o-{n}", "", 4) == partition.partition)
            assert (await engine.deduct("sku", left, order_id=next(names))).outcome is Outcome.ACCEPTED
    fresh = await bench.engine()  # it has never sold here
    for one in (engine, fresh):
        assert {(await one.deduct("sku")).partition for _ in range(12)} == {0, 2}
    lefts = {p.partition: p.left_a + p.left_b for p in await engine.partitions("sku")}
    assert lefts[1] == lefts[3] == 0
    await bench.workers()
    waiting = [engine.deduct("sku", 1, order_id=f"p-{n}") for n in range(40)]  # some of them at 1 and 3: stock comes
    assert outcomes(await asyncio.gather(*waiting)) == {"accepted": 40}
    assert {(await engine.deduct("sku")).partition for _ in range(24)} & {1, 3}


async def test_the_registry_can_be_read(bench: Bench) -> None:
    await bench.workers()
    engine = await bench.engine()
    await engine.create_item("sku", 80, partitions=2)
    await asyncio.gather(*(engine.deduct("sku", 1, order_id=f"o-{n}") for n in range(40)))
    views = await engine.partitions("sku")
    assert [v.partition for v in views] == [0, 1]
    assert sum(v.taken for v in views) == 40
    assert {v.state for v in views} == {"selling"}
    assert all(v.left_a + v.left_b + v.taken == v.granted - v.returned for v in views)
    await asyncio.gather(*(engine.deduct("sku", 1, order_id=f"p-{n}") for n in range(50)))
    await bench.settled("sku", 80)
    assert {v.state for v in await engine.partitions("sku")} == {"exhausted"}
    assert (await engine.item("sku")).state == "sold_out"

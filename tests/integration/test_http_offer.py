"""`Inventory.offer`: `deduct` for a caller who has no task for each call."""

import asyncio
from pathlib import Path

import pytest
from tests.support.engines import Bench, open_bench
from tests.support.servers import TestServer

from hotsku import Deduction, HotSKUError, Inventory, Outcome
from hotsku.engine.request import Listener
from hotsku.errors import IdempotencyConflict, InvalidRequest

pytestmark = pytest.mark.anyio


class Heard:
    """One offer, and what was heard of it."""

    def __init__(self, stock: Inventory, order_id: str, quantity: int = 1, sku: str = "a") -> None:
        self.answer: asyncio.Future[Deduction | HotSKUError] = asyncio.get_running_loop().create_future()
        self.listener: Listener | None = stock.offer(
            sku, quantity, order_id=order_id, buyer_id="", hear=self.answer.set_result
        )


async def dry(bench: Bench, stock: Inventory) -> None:
    """Sell what the item's partition has. The pool still has some, and nobody brings it."""
    item = await stock.create_item("a", 16, partitions=1)
    await stock.deduct("a", item.total - item.pool, order_id="first")


async def test_an_answer_a_repetition_and_a_conflict(module_valkey: TestServer, tmp_path: Path) -> None:
    async with open_bench(module_valkey, tmp_path) as bench:
        stock = await bench.engine()
        await stock.create_item("a", 100)
        assert Heard(stock, "o-1").listener is None  # it is not loaded yet
        await stock.deduct("a", order_id="o-0")
        first = await Heard(stock, "o-1").answer
        again = await Heard(stock, "o-1").answer
        assert isinstance(first, Deduction)
        assert isinstance(again, Deduction)
        assert (first.outcome, first.replayed, again.replayed) == (Outcome.ACCEPTED, False, True)
        assert isinstance(await Heard(stock, "o-1", 2).answer, IdempotencyConflict)
        for order_id, quantity in (("o 1", 1), ("o-2", 0)):
            with pytest.raises(InvalidRequest):
                Heard(stock, order_id, quantity)


async def test_who_leaves_gives_way(module_valkey: TestServer, tmp_path: Path) -> None:
    """An order that waits for stock is forgotten when its caller goes: what comes is for those who still wait."""
    async with open_bench(module_valkey, tmp_path) as bench:
        stock = await bench.engine()
        await dry(bench, stock)
        pool = (await stock.item("a")).pool
        gone, waits = Heard(stock, "gone", pool), Heard(stock, "waits", pool)
        assert gone.listener is not None
        await asyncio.sleep(0)
        gone.listener.leave()
        gone.listener.leave()
        await bench.workers()
        answer = await waits.answer
        assert isinstance(answer, Deduction)
        assert answer.outcome is Outcome.ACCEPTED
        assert not gone.answer.done()
        assert (await stock.order("a", "gone")).outcome is Outcome.NOT_FOUND


async def test_closing_waits_for_those_who_listen_and_for_no_others(module_valkey: TestServer, tmp_path: Path) -> None:
    async with open_bench(module_valkey, tmp_path) as bench:
        stock = await bench.engine()
        await dry(bench, stock)
        gone = Heard(stock, "gone")
        assert gone.listener is not None
        gone.listener.leave()
        async with asyncio.timeout(30):
            await stock.close()

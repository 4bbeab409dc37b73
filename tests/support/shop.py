"""A sale that goes on while something happens to its servers, and all that its buyers were told."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import hotsku
from hotsku import Deduction, HotSKUError, Inventory, Outcome
from hotsku.settings import Settings
from tests.support.workers import until

TOTAL = 12_000
CALLERS = 48
ITEM_ID = 1  # the first of its ledger

# What happens during a sale may take its time on a slow machine: the last units are bought slowly while it does.
_LAST = 3_000
_LAST_PAUSE_S = 1.0

_namespaces = itertools.count(1)


class Shop:
    """Two engines on one shard set, one of them with the workers, and all that buyers were told."""

    def __init__(self, engines: list[Inventory]) -> None:
        self.engines = engines
        self.accepted: dict[str, int] = {}  # order to its partition
        self.refused: set[str] = set()
        self._numbers = itertools.count()

    async def sell(self, *, until_done: asyncio.Event | None, pause_s: float) -> None:
        """Buyers come until the event is set, or until nothing is left."""
        sold_out = asyncio.Event()

        async def caller() -> None:
            while not (until_done or sold_out).is_set():
                number = next(self._numbers)
                answer = await self.order(f"o-{number}", number)
                if answer.outcome is not Outcome.ACCEPTED:
                    sold_out.set()
                if number % 10 == 0:  # some buyers ask again, at another engine
                    assert (await self.order(f"o-{number}", number + 1)).outcome is answer.outcome
                few_left = until_done is not None and len(self.accepted) > TOTAL - _LAST
                await asyncio.sleep(_LAST_PAUSE_S if few_left else pause_s)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))

    async def order(self, order_id: str, via: int) -> Deduction:
        """Send an order until its outcome is known."""
        while True:
            try:
                answer = await self.engines[via % len(self.engines)].deduct("sku", 1, order_id=order_id)
            except HotSKUError:
                await asyncio.sleep(0.05)
                continue
            if answer.outcome is Outcome.ACCEPTED:
                assert order_id not in self.refused
                assert self.accepted.setdefault(order_id, answer.partition) == answer.partition
            else:
                assert answer.outcome is Outcome.SOLD_OUT
                assert order_id not in self.accepted
                self.refused.add(order_id)
            return answer

    async def settle(self) -> None:
        """Wait until the ledger has everything, and compare it with what buyers were told: every unit sold, once."""
        stock = self.engines[0]

        async def at_rest() -> bool:
            report = await stock.audit("sku")
            return report.ok and report.at_rest

        await until(at_rest)
        item = await stock.item("sku")
        figures = (len(self.accepted), item.sold, item.pool, item.preallocated)
        assert figures == (TOTAL, TOTAL, 0, 0), f"{figures} accepted, sold, in the pool, pre-allocated"
        assert await self.ledger_orders() == self.accepted.keys()

    async def ledger_orders(self) -> set[str]:
        """The orders that the ledger has, one row each."""
        ledger = self.engines[0]._ledger
        known = await ledger.item("sku")
        assert known is not None
        rows = await ledger.details(known.id, None, TOTAL + 1)
        orders = {row.order_id for row in rows}
        assert len(orders) == len(rows)
        return orders

    async def sell_while(self, happens: Callable[[], Awaitable[None]]) -> None:
        """Sell everything; in the middle of it, this happens."""
        done = asyncio.Event()

        async def disturb() -> None:
            try:
                await until(lambda: len(self.accepted) > TOTAL // 24)
                await happens()
            finally:
                done.set()

        async with asyncio.timeout(170):
            await asyncio.gather(disturb(), self.sell(until_done=done, pause_s=0.05))
            assert len(self.accepted) < TOTAL, "it was to happen during the sale"
            await self.sell(until_done=None, pause_s=0)
            await self.settle()


@asynccontextmanager
async def open_shop(shard_url: str, folder: Path, **settings: object) -> AsyncIterator[Shop]:
    """A shop on these servers, in a namespace of its own, with a ledger in `folder` unless `settings` name another."""
    chosen = {
        "shard_url": shard_url,
        "ledger_url": f"sqlite:///{folder}/ledger.db",
        "namespace": f"t{next(_namespaces)}",
        "relay_interval_ms": 50,
        **settings,
    }
    made = Settings(**chosen)  # type: ignore[arg-type]  # checked by the settings
    async with AsyncExitStack() as exits:
        yield Shop([await exits.enter_async_context(hotsku.connect(made, workers=w)) for w in (True, False)])

"""A shard, a ledger, a broker and signals, wired as the workers have them, and a buyer."""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import msgspec
import redis.asyncio

from hotsku.broker.streams import StreamsBroker
from hotsku.clock import SystemClock
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import order_field
from hotsku.ledger import SqlLedger
from hotsku.ports import PartitionRow, PartitionStatus
from hotsku.shard import library
from hotsku.shard.address import Address
from hotsku.shard.keys import Keys
from hotsku.shard.nodes import OneNode
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.shard.signals import ValkeySignals
from hotsku.shard.topology import OneServer
from hotsku.stocking import open_item
from hotsku.workers.applier import Applier
from hotsku.workers.loop import Role, WorkerLoop
from hotsku.workers.reaper import Reaper, ReaperTiming
from hotsku.workers.recoverer import Recoverer
from hotsku.workers.relay import Relay
from hotsku.workers.renewal import Renewal
from tests.support import one_batch
from tests.support.ledger import open_at, spec
from tests.support.servers import TestServer

NEVER_MS = 3_600_000
# Longer than a machine stands still now and then.
_PATIENCE_S = 60.0


async def until(condition: Callable[[], "bool | Awaitable[bool]"], deadline_s: float = _PATIENCE_S) -> None:
    """Wait until `condition` holds; a test fails that waits longer than `deadline_s`."""
    async with asyncio.timeout(deadline_s):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)


class Stack:
    """The real parts. Roles are made with short intervals, and run until the test ends."""

    def __init__(self, server: TestServer, folder: Path) -> None:
        self.server = server
        self.clock = SystemClock()
        self.ledger: SqlLedger = open_at(folder)
        self.keys = Keys("hs", self.ledger.ledger_id)
        self.slices = [self.keys.topic_slice(number, 4) for number in range(4)]
        address = Address(path=str(server.socket))
        self.client: redis.asyncio.Redis = address.client(_PATIENCE_S)
        self.shard = WireShard(Router(OneServer(lambda: address), _PATIENCE_S), self.keys)
        self.signals = ValkeySignals(OneNode(self.client), self.keys)
        self._readers = itertools.count(1)
        self.broker = self.new_broker()
        self._loops: list[WorkerLoop] = []
        self._orders = itertools.count(1)

    def new_broker(self) -> StreamsBroker:
        """The broker as another process has it."""
        return StreamsBroker(self.client, self.slices, self.clock, f"reader-{next(self._readers)}")

    def new_relay(
        self, *, interval_ms: int = 20, upkeep_ms: int = 20, resend_after_ms: int = 200, rest_ms: int = 200
    ) -> Relay:
        return Relay(
            self.shard,
            self.ledger,
            self.broker,
            self.signals,
            self.clock,
            interval_ms=interval_ms,
            upkeep_ms=upkeep_ms,
            resend_after_ms=resend_after_ms,
            rest_ms=rest_ms,
        )

    def new_applier(self) -> Applier:
        return Applier(self.new_broker(), self.ledger, self.signals)

    def new_recoverer(
        self, interval_ms: int = 20, lost_after_ms: int = NEVER_MS, quarantine_ms: int = 60_000
    ) -> Recoverer:
        renewal = Renewal(
            self.shard,
            self.ledger,
            self.signals,
            self.clock,
            durability_of_new=lambda: "durable",
            quarantine_ms=quarantine_ms,
        )
        return Recoverer(
            self.shard,
            self.ledger,
            self.signals,
            self.clock,
            renewal,
            prepare=self._prepare,
            interval_ms=interval_ms,
            lost_after_ms=lost_after_ms,
        )

    def new_reaper(self, *, interval_ms: int = 20, forget_interval_ms: int = NEVER_MS, **more: int) -> Reaper:
        timing = ReaperTiming(
            interval_ms=interval_ms,
            soonest_ms=5,
            configure_interval_ms=interval_ms,
            forget_interval_ms=forget_interval_ms,
            **more,
        )
        return Reaper(self.shard, self.ledger, self.signals, self.clock, timing)

    async def _prepare(self) -> None:
        """The library is there."""

    def run(self, *roles: Role) -> WorkerLoop:
        """Run roles until the test ends, or stops them."""
        loop = WorkerLoop(roles, self.clock)
        loop.start()
        self._loops.append(loop)
        return loop

    async def item(self, total: int = 10_000, partitions: int = 1, durability: str = "durable") -> Item:
        """An item on sale, with stock in its partitions."""
        wanted = spec(total=total, partitions=partitions)
        made = (await self.ledger.create_item(wanted, durability, self.clock.now_ms())).item
        await open_item(self.ledger, self.shard, self.clock, made)
        return made

    async def sell(self, item: Item, orders: int, partition: int = 0, batch: int = 100) -> None:
        """Sell one unit to each of so many new orders."""
        left = orders
        while left:
            size = min(left, batch)
            names = [f"o-{next(self._orders)}" for _ in range(size)]
            packed = msgspec.msgpack.encode([part for name in names for part in (order_field(name, ""), 1)])
            reply = await one_batch.deduct(self.shard, PartitionRef(item.id, partition), 1, packed)
            assert reply.codes == "A" * size
            left -= size

    async def row(self, item: Item, partition: int = 0) -> PartitionRow:
        row = await self.ledger.partition(PartitionRef(item.id, partition))
        assert row is not None
        return row

    async def status(self, item: Item, partition: int = 0) -> PartitionStatus:
        return await self.shard.status(PartitionRef(item.id, partition))

    async def applied(self, item: Item, partition: int = 0) -> int:
        """Units that the ledger has as sold."""
        return (await self.row(item, partition)).applied

    async def topic(self) -> list[bytes]:
        """The bodies of all messages that the broker has."""
        found = [await self.client.xrange(name) for name in self.slices]
        slices = cast("list[list[tuple[bytes, dict[bytes, bytes]]]]", found)
        return [fields[b"m"] for entries in slices for _, fields in entries]

    async def close(self) -> None:
        for loop in self._loops:
            await loop.stop()
        await self.signals.close()
        self.shard.close()
        await self.client.aclose()
        await self.ledger.close()


@asynccontextmanager
async def open_stack(server: TestServer, folder: Path) -> AsyncIterator[Stack]:
    """A stack on a server, with a ledger of its own in `folder`."""
    stack = Stack(server, folder)
    try:
        await library.load_where_absent(stack.client)
        await stack.signals.start()
        yield stack
    finally:
        await stack.close()

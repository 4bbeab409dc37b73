"""A sale on real parts for tests of the auditor: half of it in the ledger, half still in the stream."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec

from hotsku.domain.conservation import AuditReport
from hotsku.domain.events import Event, Message, PartitionRef, decode_message, encode_message
from hotsku.domain.item import Item
from hotsku.domain.routing import order_field
from hotsku.ports import Grant
from hotsku.shard.keys import PartitionKeys
from hotsku.stocking import install, open_item
from hotsku.workers.auditor import Auditor
from tests.support import one_batch
from tests.support.ledger import spec
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack


class Sale:
    """An item on sale, its auditor, and what a test may do to both sides of it."""

    def __init__(self, stack: Stack, item: Item, folder: Path) -> None:
        self.stack = stack
        self.item = item
        self.auditor = Auditor(stack.ledger, stack.shard)
        self.ref = PartitionRef(item.id, 0)
        self._database = folder / "ledger.db"

    async def audit(self) -> AuditReport:
        return await self.auditor.audit(self.item.id)

    async def deduct(self, *orders: tuple[str, str, int], partition: int = 0) -> None:
        """Sell (order, buyer, quantity) each."""
        packed = msgspec.msgpack.encode([part for o, b, q in orders for part in (order_field(o, b), q)])
        ref = PartitionRef(self.item.id, partition)
        reply = await one_batch.deduct(self.stack.shard, ref, 1, packed)
        assert reply.codes == "A" * len(orders)

    async def apply(self, partition: int = 0, most: int = 1000) -> None:
        """Bring the ledger up to date with the stream."""
        ref = PartitionRef(self.item.id, partition)
        row = await self.stack.row(self.item, partition)
        entries = await self.stack.shard.read(ref, 1, row.watermark, 1000)
        events = [event for entry in entries for event in entry.events() if event.seq > row.watermark][:most]
        if events:
            await self.stack.ledger.apply(self.message(ref, events))

    def message(self, ref: PartitionRef, events: list[Event]) -> Message:
        return decode_message(encode_message(self.stack.ledger.ledger_id, self.item.sku, ref, 1, events))

    async def lease(self, partition: int, quantity: int) -> None:
        row = await self.stack.row(self.item, partition)
        leases = await self.stack.ledger.lease([Grant(row.ref, 1, row.lease_no, quantity)], 0)
        assert leases is not None
        await install(self.stack.shard, leases[0])

    def sql(self, *statements: str) -> None:
        """Change the ledger behind everybody's back, past its constraints."""
        with closing(sqlite3.connect(self._database)) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                connection.execute(statement)

    async def meta(self, field: str, by: int) -> None:
        await self.stack.client.hincrby(self.keys.meta, field, by)

    async def forget(self, what: str) -> None:
        """Lose something of the shard's partition 0: the last "event", an "order", or "all" of it."""
        client = self.stack.client
        if what == "event":
            status = await self.stack.status(self.item)
            assert await client.xdel(self.keys.stream, f"1-{status.seq}") == 1
        elif what == "order":
            assert await client.hdel(self.keys.orders, order_field("o-1", "b-1")) == 1
        else:
            await client.delete(self.keys.meta, self.keys.orders, self.keys.buyers, self.keys.stream)

    @property
    def keys(self) -> PartitionKeys:
        """Of partition 0."""
        return self.stack.keys.partition(self.ref)


@asynccontextmanager
async def going_sale(server: TestServer, folder: Path) -> AsyncIterator[Sale]:
    """Two partitions and a limit of 5; the first has sold three orders that the ledger has, then given back 7 units and
    sold a fourth order, which the ledger has not."""
    async with open_stack(server, folder) as stack:
        item = (await stack.ledger.create_item(spec(total=1_000, partitions=2, limit_per_buyer=5), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, item)
        sale = Sale(stack, item, folder)
        await sale.deduct(("o-1", "b-1", 2), ("o-2", "b-2", 3))
        await sale.deduct(("o-3", "b-1", 1))
        await sale.apply()
        assert await stack.shard.reclaim(sale.ref, 1, 1, 7) == 7
        await sale.deduct(("o-4", "b-3", 1))
        yield sale


def names(report: AuditReport) -> set[str]:
    """The names of the equations that fail."""
    assert report.ok == (not report.problems)
    assert report.failed == len(report.problems)
    return {problem.name for problem in report.problems}

"""The shard alone: the same scripts on packed batches that lie ready, sent as fast as they are answered."""

import asyncio
from collections import deque

import msgspec

from hotsku.bench.callers import tidy
from hotsku.bench.cpu import CpuMeter
from hotsku.bench.report import Measured
from hotsku.bench.rounds import Plan, Side
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop
from hotsku.domain.events import PartitionRef
from hotsku.domain.routing import order_field

_INCARNATION = 1
_NO_DEADLINE_MS = 1 << 45
# Batches on their way for each partition: one that the server works on, one that lies before it.
_DEPTH = 2


def blind_side(plan: Plan, shop: Shop, *, batch: int, partitions: int, orders: int) -> Side:
    """About `orders` orders of one unit each, in batches of `batch`, spread over the partitions of a fresh item."""

    async def side() -> Measured:
        sku = await new_item(shop, partitions)
        refs = [PartitionRef(await shop.item_id(sku), number) for number in range(partitions)]
        queues = [deque(_packed(number, batch, orders // partitions)) for number in range(partitions)]
        shard = shop.stack.shard()
        accepted = 0

        async def send(ref: PartitionRef, queue: "deque[bytes]") -> None:
            nonlocal accepted
            while queue:
                reply = await shard.deduct(ref, _INCARNATION, _NO_DEADLINE_MS, True, queue.popleft())
                accepted += reply.codes.count("A")

        await shard.now_ms()
        tidy()
        meter = CpuMeter(shop.server.pid)
        start_ms = plan.clock.monotonic_ms()
        async with asyncio.TaskGroup() as group:
            for ref, queue in zip(refs, queues, strict=True):
                for _ in range(_DEPTH):
                    group.create_task(send(ref, queue))
        measured = Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=accepted)
        measured = meter.stop(measured)
        shard.close()
        await shop.forget(sku)
        return measured

    return side


def _packed(partition: int, batch: int, orders: int) -> list[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    batches = []
    for start in range(0, max(batch, orders), batch):
        values: list[str | int] = []
        for number in range(start, start + batch):
            values += (order_field(f"o{partition:03d}{number:08d}", f"b{number:011d}"), 1)
        batches.append(encode(values))
    return batches

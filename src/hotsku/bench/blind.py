"""The shard alone: the same scripts on packed batches that lie ready, sent as fast as they are answered."""

import asyncio
from collections import deque

import msgspec

from hotsku.bench.report import Measured
from hotsku.bench.rounds import Plan, Side
from hotsku.bench.selling import PLENTY, new_item
from hotsku.bench.servers import Shop
from hotsku.domain.events import PartitionRef
from hotsku.domain.routing import order_field
from hotsku.ports import BatchReply, OrderBatch
from hotsku.shard.shard import WireShard

_INCARNATION = 1
_NO_DEADLINE_MS = 1 << 45
# Batches on their way for each partition: one that the server works on, one that lies before it.
_DEPTH = 2
# Units, of which three quarters are on the shard.
_FEW, _CALL = 4_000, 1_000
_PARTITIONS = 8


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
                reply = await _decided(shard, ref, queue.popleft())
                accepted += reply.codes.count("A")

        async def selling() -> Measured:
            start_ms = plan.clock.monotonic_ms()
            async with asyncio.TaskGroup() as group:
                for ref, queue in zip(refs, queues, strict=True):
                    for _ in range(_DEPTH):
                        group.create_task(send(ref, queue))
            return Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=accepted)

        await shard.now_ms(refs[0])
        measured = await shop.measured(selling())
        shard.close()
        await shop.forget(sku)
        return measured

    return side


def many_side(plan: Plan, shop: Shop, *, batch: int, connections: int, sold_out: bool) -> Side:
    """Calls of `batch` orders from as many connections, as that many gateways would send them: each its next one when
    the last was answered, for the plan's seconds.

    Args:
        sold_out: to a partition that has nothing left, and so many records that the server has an index of them;
            otherwise to eight that have plenty.
    """

    async def side() -> Measured:
        partitions = 1 if sold_out else _PARTITIONS
        sku = await new_item(shop, partitions, total=_FEW if sold_out else PLENTY)
        refs = [PartitionRef(await shop.item_id(sku), number) for number in range(partitions)]
        shards = [shop.stack.shard() for _ in range(connections)]
        accepted = refused = 0

        async def send(shard: WireShard, number: int, until_ms: float) -> None:
            nonlocal accepted, refused
            first, ref = 0, refs[number % partitions]
            while plan.clock.monotonic_ms() < until_ms:
                (orders,) = _packed(number, batch, batch, first)
                reply = await _decided(shard, ref, orders)
                accepted += reply.codes.count("A")
                refused += reply.codes.count("D")
                first += batch

        async def selling() -> Measured:
            start_ms = plan.clock.monotonic_ms()
            async with asyncio.TaskGroup() as group:
                for number, shard in enumerate(shards):
                    group.create_task(send(shard, number, start_ms + plan.seconds * 1000))
            seconds = (plan.clock.monotonic_ms() - start_ms) / 1000
            return Measured(seconds=seconds, accepted=accepted, rejected=refused)

        for shard in shards:
            await shard.now_ms(refs[0])
        if sold_out:
            for orders in _packed(connections, _CALL, _FEW):
                await _decided(shards[0], refs[0], orders)
        measured = await shop.measured(selling())
        for shard in shards:
            shard.close()
        await shop.forget(sku)
        return measured

    return side


async def _decided(shard: WireShard, ref: PartitionRef, orders: bytes) -> BatchReply:
    (answer,) = await shard.deduct(_NO_DEADLINE_MS, [OrderBatch(ref, _INCARNATION, True, orders)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def _packed(partition: int, batch: int, orders: int, first: int = 0) -> list[bytes]:
    encode = msgspec.msgpack.Encoder().encode
    batches = []
    for start in range(first, first + max(batch, orders), batch):
        values: list[str | int] = []
        for number in range(start, start + batch):
            values += (order_field(f"o{partition:03d}{number:08d}", f"b{number:011d}"), 1)
        batches.append(encode(values))
    return batches

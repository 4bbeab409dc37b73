"""One batch of one partition, as tests send it to a shard: what is not decided is raised."""

from hotsku.domain.events import PartitionRef
from hotsku.ports import BatchReply, OrderBatch, Shard, StepBatch, StepReply

_FAR_MS = 1 << 45


async def deduct(shard: Shard, ref: PartitionRef, incarnation: int, orders: bytes, *, take: bool = True) -> BatchReply:
    """Decide a batch of orders, packed as in deduct.lua. Raises why it was not decided."""
    (reply,) = await shard.deduct(_FAR_MS, [OrderBatch(ref, incarnation, take, orders)])
    if isinstance(reply, Exception):
        raise reply
    return reply


async def step(shard: Shard, ref: PartitionRef, incarnation: int, steps: bytes) -> StepReply:
    """Decide a batch of steps, packed as in step.lua. Raises why it was not decided."""
    (reply,) = await shard.step(_FAR_MS, [StepBatch(ref, incarnation, steps)])
    if isinstance(reply, Exception):
        raise reply
    return reply

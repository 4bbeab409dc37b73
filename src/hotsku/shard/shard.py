"""The functions of the library, typed: one method for each file of `functions/`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

from hotsku.domain.events import PartitionRef, StreamEntry
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord, parse_record
from hotsku.ports import (
    BatchReply,
    Durability,
    Fenced,
    Loaded,
    Lost,
    OrderBatch,
    PartitionStatus,
    Refusal,
    Stale,
    StepBatch,
    StepReply,
    Swept,
    Waiting,
)
from hotsku.shard.deciding import DEDUCT, STEP, Decider
from hotsku.shard.facts import read_facts, syncing_every_write
from hotsku.shard.keys import Keys, PartitionKeys
from hotsku.shard.packing import configuration, pack_orders, read_entry, read_status, read_swept
from hotsku.shard.router import Router
from hotsku.shard.wire import Argument, Reply

# `XREAD` of so many streams at once when the relay looks for new events.
_STREAMS_A_LOOK = 512

_LAST_SEQ = 2**64 - 1
# Is among the buyers, and none: see lib.lua.
_MARK = b" "


class WireShard:
    """The `Shard` port on Valkey or Redis servers."""

    def __init__(self, router: Router, keys: Keys) -> None:
        self._router = router
        self._names = keys
        self._keys: dict[PartitionRef, PartitionKeys] = {}
        self._decider = Decider(router, self._partition)

    def close(self) -> None:
        self._router.close()

    def name_of(self, ref: PartitionRef) -> str:
        """The server that has the partition now, for people and to tell servers apart; empty where none is known."""
        return self._router.name_of(self._partition(ref).slot)

    def count(self) -> int:
        """How many servers there are, as far as known; at least 1."""
        return max(1, len(self._router.topology.masters()))

    async def deduct(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[BatchReply | Refusal]:
        """Decide batches of orders of one server's partitions: see deduct.lua.

        Args:
            deadline_ms: by the shard's clock; past it, the call does nothing.

        Returns:
            For each batch, in order, its reply, or why it was not decided.
        """
        return await self._decider.decide(DEDUCT, deadline_ms, batches)

    async def step(self, deadline_ms: int, batches: Sequence[StepBatch]) -> list[StepReply | Refusal]:
        """Decide batches of steps in orders' lives, of one server's partitions: see step.lua. As `deduct`."""
        return await self._decider.decide(STEP, deadline_ms, batches)

    async def expire(self, ref: PartitionRef, incarnation: int, most: int) -> Swept:
        """Expire up to `most` holds whose time is over; carts' lines among them are only named."""
        k = self._partition(ref)
        return read_swept(await self._call(k, "hs_expire", k.all(), incarnation, most))

    async def release_holds(self, ref: PartitionRef, incarnation: int, most: int, offset: int) -> Swept:
        """Look at up to `most` holds of a closed item's partition, and release those that are not in payment.

        Args:
            offset: 0 at first, then what the call before said.
        """
        k = self._partition(ref)
        return read_swept(await self._call(k, "hs_release_holds", k.all(), incarnation, most, offset))

    async def forget(self, ref: PartitionRef, incarnation: int, before_ms: int, keep: int, most: int) -> int:
        """Drop records of holds that ended before `before_ms`, and the oldest beyond `keep`, as far as the ledger has
        their end. Looks at up to `most`, and returns how many it dropped."""
        k = self._partition(ref)
        reply = await self._call(k, "hs_forget", (k.meta, k.orders, k.ended), incarnation, before_ms, keep, most)
        return cast(int, reply[1])

    async def now_ms(self, ref: PartitionRef) -> int:
        """The clock of the partition's shard."""
        seconds, micros = cast(list[bytes], await self._router.send(self._partition(ref).slot, "TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    async def memory(self, ref: PartitionRef) -> str:
        """The name of the shard's memory: no restart repeats it."""
        k = self._partition(ref)
        return cast(bytes, await self._router.send(k.slot, "FCALL_RO", "hs_memory", 1, k.meta)).decode()

    async def begin(self, ref: PartitionRef, incarnation: int, item: Item, memory: str) -> None:
        """Give the shard a partition that was never leased to, and arm it. Again: nothing happens.

        Args:
            memory: the shard's, read before the ledger said that the partition was never leased to.
        """
        k = self._partition(ref)
        await self._call(k, "hs_begin", k.all(), incarnation, *configuration(item), memory)

    async def configure(self, ref: PartitionRef, incarnation: int, item: Item) -> int:
        """Tell a partition its item's configuration. Returns the version that it has now: it keeps the newest."""
        k = self._partition(ref)
        return cast(int, (await self._call(k, "hs_configure", (k.meta,), incarnation, *configuration(item)))[1])

    async def arm(self, ref: PartitionRef, incarnation: int, seq: int, memory: str) -> bool:
        """Arm a partition whose memory was proven. Returns False where the shard refuses: it has something else.

        Args:
            memory: the shard's, read before what was proven.
        """
        k = self._partition(ref)
        return (await self._call(k, "hs_arm", k.all(), incarnation, seq, memory))[0] != b"REFUSED"

    async def disarm(self, ref: PartitionRef, incarnation: int, *, seal: bool) -> None:
        """Fence a partition; with `seal`, so that a restart after it is proven whatever the fsync policy."""
        k = self._partition(ref)
        await self._call(k, "hs_disarm", (k.meta,), incarnation, int(seal))

    async def end(self, ref: PartitionRef, incarnation: int) -> None:
        """End an incarnation on the shard for good; nothing happens where it is not there."""
        k = self._partition(ref)
        await self._call(k, "hs_end", (k.meta,), incarnation)

    async def renew(self, ref: PartitionRef, incarnation: int, item: Item, memory: str, keep_seq: int | None) -> str:
        """Begin a new incarnation in the place of an older one: see renew.lua.

        Args:
            memory: the shard's, read before the ledger said that the incarnation has begun.
            keep_seq: where the older one was proven to be complete, the seq at which it ended.

        Returns:
            "armed", or "rebuilding": its orders are to be loaded, or "refused": look again.
        """
        k = self._partition(ref)
        reply = await self._call(
            k,
            "hs_renew",
            k.all(),
            incarnation,
            *configuration(item),
            memory,
            -1 if keep_seq is None else keep_seq,
        )
        return "refused" if reply[0] == b"REFUSED" else cast(bytes, reply[1]).decode()

    async def load(
        self,
        ref: PartitionRef,
        incarnation: int,
        memory: str,
        orders: Sequence[tuple[str, OrderRecord]],
        buyers: Sequence[tuple[str, int]],
    ) -> bool:
        """Bring orders (field, record) and buyers (with their units in all) back, at most 1,000 of each. False: the
        partition is not being rebuilt any more, or the shard has restarted."""
        k = self._partition(ref)
        keys = (k.meta, k.orders, k.buyers, k.holds, k.ended)
        reply = await self._call(k, "hs_load", keys, incarnation, memory, *pack_orders(orders, buyers))
        return reply[0] == b"OK"

    async def finish(self, ref: PartitionRef, incarnation: int, memory: str, loaded: Loaded) -> bool:
        """Arm a partition whose orders are all back. False as for `load`, or where some of what was loaded is lost
        again."""
        k = self._partition(ref)
        counts = (loaded.orders, loaded.buyers, loaded.holds)
        return (await self._call(k, "hs_finish", k.all(), incarnation, memory, *counts))[0] == b"OK"

    async def install(self, ref: PartitionRef, incarnation: int, no: int, quantity: int, threshold: int) -> int:
        """Add lease `no` to the standby, exactly once. Returns the last lease that is installed, `no` - 2 or lower
        where an earlier one is missing."""
        k = self._partition(ref)
        reply = await self._call(k, "hs_install", (k.meta,), incarnation, no, quantity, threshold)
        return cast(int, reply[1])

    async def reclaim(self, ref: PartitionRef, incarnation: int, no: int, quantity: int) -> int:
        """Take up to `quantity` unsold units out, once for each `no`. Returns how many this `no` took."""
        k = self._partition(ref)
        reply = await self._call(k, "hs_reclaim", (k.meta, k.stream), incarnation, no, quantity)
        return 0 if reply[0] == b"GAP" else cast(int, reply[1])

    async def trim(self, ref: PartitionRef, incarnation: int, through_seq: int) -> None:
        """Drop the events that the ledger has."""
        k = self._partition(ref)
        await self._call(k, "hs_trim", (k.meta, k.stream), incarnation, through_seq)

    async def status(self, ref: PartitionRef) -> PartitionStatus:
        """The partition as it stands, read at one instant."""
        k = self._partition(ref)
        return read_status(await self._call(k, "hs_status", k.all()))

    async def read(self, ref: PartitionRef, incarnation: int, after_seq: int, count: int) -> list[StreamEntry]:
        """Up to `count` entries of the incarnation that end after `after_seq`, in order."""
        k = self._partition(ref)
        first, last = f"{incarnation}-{after_seq + 1}", f"{incarnation}-{_LAST_SEQ}"
        reply = await self._router.send(k.slot, "XRANGE", k.stream, first, last, "COUNT", count)
        return [read_entry(entry_id, fields) for entry_id, fields in cast("list[tuple[bytes, list[bytes]]]", reply)]

    async def waiting(self, refs: Sequence[tuple[PartitionRef, int, int]]) -> Waiting:
        """Which of (partition, incarnation, seq) have a stream with an entry after that seq."""
        groups: defaultdict[int, list[tuple[PartitionRef, int, int]]] = defaultdict(list)
        for each in refs:
            groups[self._router.topology.group(self._partition(each[0]).slot)].append(each)
        looks = [
            group[start : start + _STREAMS_A_LOOK]
            for group in groups.values()
            for start in range(0, len(group), _STREAMS_A_LOOK)
        ]
        found: list[PartitionRef] = []
        unknown: list[PartitionRef] = []
        for look, answer in zip(looks, await asyncio.gather(*map(self._look, looks)), strict=True):
            if answer is None:
                unknown += [ref for ref, _, _ in look]
            else:
                found += answer
        return Waiting(found, unknown)

    async def _look(self, refs: Sequence[tuple[PartitionRef, int, int]]) -> list[PartitionRef] | None:
        """`waiting` for partitions whose slots may be named in one command; None where their shard is away."""
        streams = {self._partition(ref).stream: ref for ref, _, _ in refs}
        ids = [f"{incarnation}-{seq}" for _, incarnation, seq in refs]
        slot = self._partition(refs[0][0]).slot
        try:
            reply = await self._router.send(slot, "XREAD", "COUNT", 1, "STREAMS", *streams, *ids)
        except Lost:
            return None
        return [streams[name.decode()] for name, _ in cast("list[tuple[bytes, Reply]]", reply or [])]

    async def order(self, ref: PartitionRef, field: str) -> tuple[OrderRecord | None, int]:
        """An accepted order's record, if it is still on the shard, and the partition's time: a hold whose time is over
        may not have been expired yet (`OrderRecord.state_at`)."""
        k = self._partition(ref)
        reply = _checked(await self._router.send(k.slot, "FCALL_RO", "hs_order", 2, k.meta, k.orders, field))
        record, now_ms = cast("tuple[bytes | None, int]", reply[1:])
        return None if record is None else parse_record(record), now_ms

    async def bought(self, ref: PartitionRef) -> list[int]:
        """The units of each of the partition's buyers (none where its item has no limit), in no order; for audits."""
        k = self._partition(ref)
        flat = cast(list[bytes], await self._router.send(k.slot, "HGETALL", k.buyers))
        return [int(units) for buyer, units in zip(flat[::2], flat[1::2], strict=True) if buyer != _MARK]

    async def durability(self, ref: PartitionRef) -> Durability:
        """What the partition's server promises now, by its settings and its role."""
        facts = await read_facts(partial(self._router.send, self._partition(ref).slot))
        return Durability(every_write_synced=facts.every_write_synced, copies=len(facts.replicas), master=facts.master)

    @asynccontextmanager
    async def syncing_every_write(self, refs: Iterable[PartitionRef]) -> AsyncIterator[None]:
        """Inside, every write to these partitions' servers is on disk before its reply, whatever their fsync policy is
        otherwise."""
        servers = {self.name_of(ref): self._partition(ref).slot for ref in refs}
        async with AsyncExitStack() as exits:
            for slot in servers.values():
                await exits.enter_async_context(syncing_every_write(partial(self._router.send, slot)))
            yield

    def _partition(self, ref: PartitionRef) -> PartitionKeys:
        keys = self._keys.get(ref)
        if keys is None:
            keys = self._keys[ref] = self._names.partition(ref)
        return keys

    async def _call(self, k: PartitionKeys, function: str, keys: tuple[str, ...], *arguments: Argument) -> list[Reply]:
        return _checked(await self._router.send(k.slot, "FCALL", function, len(keys), *keys, *arguments))


def _checked(answer: Reply) -> list[Reply]:
    reply = cast(list[Reply], answer)
    if reply and reply[0] == b"FENCED":
        raise Fenced
    if reply and reply[0] == b"STALE":
        raise Stale
    return reply

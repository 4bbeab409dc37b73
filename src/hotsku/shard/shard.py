"""The functions of the library, typed: one method for each file of `functions/`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from hotsku.domain.events import EventKind, PartitionRef, StreamEntry
from hotsku.domain.item import ItemSpec
from hotsku.errors import BackendUnavailable
from hotsku.ports import BatchReply, Durability, Fenced, Late, Lost, OrderRecord, PartitionStatus, Stale
from hotsku.shard.keys import Keys, PartitionKeys
from hotsku.shard.wire import Argument, Reply, ReplyError, Wire

# `XREAD` of so many streams at once when the relay looks for new events.
_STREAMS_A_LOOK = 512

_STATUS_FIELDS = frozenset(PartitionStatus.__struct_fields__)


class WireShard:
    """The `Shard` port on one Valkey or Redis server."""

    def __init__(self, wire: Wire, keys: Keys) -> None:
        self._wire = wire
        self._names = keys
        self._keys: dict[PartitionRef, PartitionKeys] = {}

    def close(self) -> None:
        self._wire.close()

    async def deduct(
        self, ref: PartitionRef, incarnation: int, deadline_ms: int, take: bool, orders: bytes
    ) -> BatchReply:
        """Decide a batch: see deduct.lua.

        Args:
            deadline_ms: by the shard's clock; past it, the call does nothing.
            take: False answers from the records only.
            orders: msgpack flat array of (order field, quantity), at most 1,000 orders.

        Raises:
            Late: the deadline had passed.
        """
        k = self._partition(ref)
        reply = await self._call(
            "hs_deduct", (k.meta, k.orders, k.buyers, k.stream), incarnation, deadline_ms, int(take), orders
        )
        if reply[0] == b"LATE":
            raise Late(cast(int, reply[1]))
        return BatchReply(
            cast(int, reply[1]),
            cast(int, reply[2]),
            cast(int, reply[3]),
            cast(bytes, reply[4]).decode(),
            reply[5] == 1,
            cast(int, reply[6]),
            cast(int, reply[7]),
            cast(bytes, reply[8]).decode(),
            cast(list[bytes], reply[9:]),
        )

    async def now_ms(self) -> int:
        """The shard's clock."""
        seconds, micros = cast(list[bytes], await self._send("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    async def memory(self, ref: PartitionRef) -> str:
        """The name of the shard's memory: no restart repeats it."""
        return cast(bytes, await self._send("FCALL_RO", "hs_memory", 1, self._partition(ref).meta)).decode()

    async def begin(self, ref: PartitionRef, incarnation: int, spec: ItemSpec, memory: str) -> None:
        """Give the shard a partition that was never leased to, and arm it. Again: nothing happens.

        Args:
            memory: the shard's, read before the ledger said that the partition was never leased to.
        """
        await self._call(
            "hs_begin",
            (self._partition(ref).meta,),
            incarnation,
            spec.limit_per_buyer or 0,
            spec.opens_at_ms or 0,
            spec.closes_at_ms or 0,
            memory,
        )

    async def arm(self, ref: PartitionRef, incarnation: int, seq: int, memory: str) -> bool:
        """Arm a partition whose memory was proven. Returns False where the shard refuses: it has something else.

        Args:
            memory: the shard's, read before what was proven.
        """
        k = self._partition(ref)
        return (await self._call("hs_arm", (k.meta, k.stream), incarnation, seq, memory))[0] != b"REFUSED"

    async def disarm(self, ref: PartitionRef, incarnation: int, *, seal: bool) -> None:
        """Fence a partition; with `seal`, so that a restart after it is proven whatever the fsync policy."""
        await self._call("hs_disarm", (self._partition(ref).meta,), incarnation, int(seal))

    async def install(self, ref: PartitionRef, incarnation: int, no: int, quantity: int, threshold: int) -> int:
        """Add lease `no` to the standby, exactly once. Returns the last lease that is installed, `no` - 2 or lower
        where an earlier one is missing."""
        reply = await self._call("hs_install", (self._partition(ref).meta,), incarnation, no, quantity, threshold)
        return cast(int, reply[1])

    async def reclaim(self, ref: PartitionRef, incarnation: int, no: int, quantity: int) -> int:
        """Take up to `quantity` unsold units out, once for each `no`. Returns how many this `no` took."""
        k = self._partition(ref)
        reply = await self._call("hs_reclaim", (k.meta, k.stream), incarnation, no, quantity)
        return 0 if reply[0] == b"GAP" else cast(int, reply[1])

    async def trim(self, ref: PartitionRef, incarnation: int, through_seq: int) -> None:
        """Drop the events that the ledger has."""
        k = self._partition(ref)
        await self._call("hs_trim", (k.meta, k.stream), incarnation, through_seq)

    async def status(self, ref: PartitionRef) -> PartitionStatus:
        """The partition as it stands, read at one instant."""
        k = self._partition(ref)
        flat = await self._call("hs_status", (k.meta, k.orders, k.stream))
        raw = {cast(bytes, flat[i]).decode(): flat[i + 1] for i in range(0, len(flat), 2)}
        if not raw:
            return PartitionStatus()
        figures = {name: int(cast("bytes | int", value)) for name, value in raw.items() if name != "active"}
        if figures.pop("stream_incarnation") != figures["incarnation"]:
            figures["stream_seq"] = 0
        sealed = figures.pop("sealed")
        known = {name: value for name, value in figures.items() if name in _STATUS_FIELDS}
        active = cast(bytes, raw["active"]).decode()
        return PartitionStatus(active=active, sealed=None if sealed < 0 else sealed, **known)

    async def read(self, ref: PartitionRef, incarnation: int, after_seq: int, count: int) -> list[StreamEntry]:
        """Up to `count` entries of the incarnation that end after `after_seq`, in order."""
        entries = cast(
            "list[tuple[bytes, list[bytes]]]",
            await self._send(
                "XRANGE",
                self._partition(ref).stream,
                f"{incarnation}-{after_seq + 1}",
                f"{incarnation}-18446744073709551615",
                "COUNT",
                count,
            ),
        )
        return [_entry(entry_id, fields) for entry_id, fields in entries]

    async def waiting(self, refs: Sequence[tuple[PartitionRef, int, int]]) -> list[PartitionRef]:
        """Those of (partition, incarnation, seq) whose stream has an entry after that seq."""
        found = []
        for start in range(0, len(refs), _STREAMS_A_LOOK):
            chunk = refs[start : start + _STREAMS_A_LOOK]
            streams = {self._partition(ref).stream: ref for ref, _, _ in chunk}
            ids = [f"{incarnation}-{seq}" for _, incarnation, seq in chunk]
            reply = await self._send("XREAD", "COUNT", 1, "STREAMS", *streams, *ids)
            for name, _ in cast("list[tuple[bytes, Reply]]", reply or []):
                found.append(streams[name.decode()])
        return found

    async def order(self, ref: PartitionRef, field: str) -> OrderRecord | None:
        """An accepted order's record, if it is still on the shard."""
        record = cast("bytes | None", await self._send("HGET", self._partition(ref).orders, field))
        return None if record is None else parse_record(record)

    async def bought(self, ref: PartitionRef) -> list[int]:
        """The units of each of the partition's buyers (none where its item has no limit), in no order; for audits."""
        units = cast(list[bytes], await self._send("HVALS", self._partition(ref).buyers))
        return [int(each) for each in units]

    async def durability(self) -> Durability:
        """What the server's settings and role promise now."""
        config = await self._config("append*", "no-appendfsync-on-rewrite", "aof-load-truncated")
        role = cast(list[Reply], await self._send("ROLE"))
        synced = (
            config.get("appendonly") == "yes"
            and config.get("appendfsync") == "always"
            and config.get("no-appendfsync-on-rewrite") == "no"
            and (config.get("aof-load-truncated") == "no" or await self._cuts_whole_transactions())
        )
        return Durability(every_write_synced=synced, single_copy=role[0] == b"master" and role[2] == [])

    @asynccontextmanager
    async def syncing_every_write(self) -> AsyncIterator[None]:
        """Inside, every write is on disk before its reply, whatever the server's fsync policy is otherwise."""
        policy = (await self._config("appendfsync"))["appendfsync"]
        if policy == "always":
            yield
            return
        await self._send("CONFIG", "SET", "appendfsync", "always")
        try:
            yield
        finally:
            await self._send("CONFIG", "SET", "appendfsync", policy)

    async def _config(self, *patterns: str) -> dict[str, str]:
        flat = [part.decode() for part in cast(list[bytes], await self._send("CONFIG", "GET", *patterns))]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def _cuts_whole_transactions(self) -> bool:
        """Whether the server drops a script's writes as a whole from a file that was torn in the middle of them. Redis
        7.0 leaves the half in the file, and replays it at the next restart; Valkey cuts it off."""
        return b"valkey_version:" in cast(bytes, await self._send("INFO", "server"))

    def _partition(self, ref: PartitionRef) -> PartitionKeys:
        keys = self._keys.get(ref)
        if keys is None:
            keys = self._keys[ref] = self._names.partition(ref)
        return keys

    async def _call(self, function: str, keys: tuple[str, ...], *arguments: Argument) -> list[Reply]:
        reply = cast(list[Reply], await self._send("FCALL", function, len(keys), *keys, *arguments))
        if reply and reply[0] == b"FENCED":
            raise Fenced
        if reply and reply[0] == b"STALE":
            raise Stale
        return reply

    async def _send(self, command: str, *arguments: Argument) -> Reply:
        try:
            return await self._wire.call(command, *arguments)
        except ReplyError as error:
            text = str(error)
            if text.startswith(("LOADING", "BUSY", "MASTERDOWN")):
                raise Lost(text, sent=False) from error
            raise BackendUnavailable(f"the shard refused {command}: {text}") from error


def parse_record(record: bytes) -> OrderRecord:
    """An order's record as deduct.lua writes it: d:<quantity>:<incarnation>:<seq>:<at, ms>."""
    _, quantity, incarnation, seq, at_ms = record.split(b":")
    return OrderRecord(int(quantity), int(incarnation), int(seq), int(at_ms))


def _entry(entry_id: bytes, fields: list[bytes]) -> StreamEntry:
    incarnation, last_seq = entry_id.split(b"-")
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return StreamEntry(
        int(incarnation), int(last_seq), EventKind(values[b"k"].decode()), int(values[b"t"]), values[b"e"]
    )

"""Reads the slices of a topic for one consumer: who owns a slice, where it reads next, what it acknowledged."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias, cast

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.log import get_logger
from hotsku.ports import Clock

FAULTS = (RedisError, OSError)

_OWNER_TTL_MS = 2_000
_RENEW_EVERY_MS = 500.0
_BLOCK_MS = 500
_COUNT = 8

# One name for whoever owns the slice: what its predecessor read and never acknowledged is its own to read again.
CONSUMER = "owner"
FROM_START = b"0-0"
NEW = b">"

# An entry's id and fields; it has none where it was trimmed away after it had been read.
_Entry: TypeAlias = "tuple[bytes, dict[bytes, bytes] | None]"

_log = get_logger("broker")


class SliceDelivery:
    """The `Delivery` port: one entry of a slice."""

    __slots__ = ("_acks", "_entry_id", "body")

    def __init__(self, body: bytes, entry_id: bytes, acks: list[bytes]) -> None:
        self.body = body
        self._entry_id = entry_id
        self._acks = acks

    async def ack(self) -> None:
        """Acknowledge with the reader's next call to the server: many at once cost one write to disk."""
        self._acks.append(self._entry_id)


class SliceReader:
    """One reader of some slices. It owns a slice while it renews the slice's owner key."""

    def __init__(
        self, client: redis.asyncio.Redis, slices: Sequence[str], group: str, clock: Clock, token: str
    ) -> None:
        self._client = client
        self._slices = slices
        self._group = group
        self._clock = clock
        self._token = token
        self._cursors: dict[str, bytes] = {}  # of the slices that it owns
        self._acks: defaultdict[str, list[bytes]] = defaultdict(list)
        self._renew_at_ms = 0.0
        self._backoff = Backoff()
        self._failing = False

    async def read(self) -> list[SliceDelivery]:
        """The next messages; none where it waited in vain, owns nothing, or the server is away. Raises no fault."""
        end_if_cancelled()
        try:
            await self._flush_acks()
            await self._hold_slices()
            deliveries = await self._read_slices()
        except FAULTS as error:
            await self._wait_out(error)
            return []
        self._backoff.reset()
        self._failing = False
        return deliveries

    async def close(self) -> None:
        """Let go of the slices, so that another reader need not wait for the owner keys to lapse."""
        with suppress(*FAULTS):
            await self._flush_acks()
            for name in list(self._cursors):
                if await self._client.get(owner_key(name)) == self._token.encode():
                    await self._client.delete(owner_key(name))

    async def _hold_slices(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._renew_at_ms:
            return
        pipe = self._client.pipeline(transaction=False)
        for name in self._slices:
            pipe.set(owner_key(name), self._token, nx=True, px=_OWNER_TTL_MS, get=True)
        owners = cast("list[bytes | None]", await pipe.execute())
        for name, owner in zip(self._slices, owners, strict=True):
            if owner is not None and owner != self._token.encode():
                self._cursors.pop(name, None)
                continue
            if owner is not None:
                await self._client.pexpire(owner_key(name), _OWNER_TTL_MS)
            if name not in self._cursors:
                await self._join(name)
        self._renew_at_ms = now_ms + _RENEW_EVERY_MS

    async def _join(self, name: str) -> None:
        try:
            await self._client.xgroup_create(name, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._cursors[name] = FROM_START

    async def _read_slices(self) -> list[SliceDelivery]:
        if not self._cursors:
            await asyncio.sleep(_BLOCK_MS / 1000)
            return []
        command = ("XREADGROUP", "GROUP", self._group, CONSUMER, "COUNT", _COUNT, "BLOCK", _BLOCK_MS, "STREAMS")
        # The client's own method for this is typed as the union of two protocol versions' replies.
        reply = await self._client.execute_command(  # type: ignore[no-untyped-call]
            *command, *self._cursors, *self._cursors.values()
        )
        streams = cast("list[tuple[bytes, list[_Entry]]]", reply or [])
        return [delivery for name, entries in streams for delivery in self._take(name.decode(), entries)]

    def _take(self, name: str, entries: "list[_Entry]") -> list[SliceDelivery]:
        if self._cursors[name] != NEW:
            self._cursors[name] = entries[-1][0] if entries else NEW
        acks = self._acks[name]
        deliveries = []
        for entry_id, fields in entries:
            body = (fields or {}).get(b"m")
            if body is None:  # the relay sends it again where it matters
                acks.append(entry_id)
            else:
                deliveries.append(SliceDelivery(body, entry_id, acks))
        return deliveries

    async def _flush_acks(self) -> None:
        for name, entry_ids in self._acks.items():
            if entry_ids:
                count = len(entry_ids)
                await self._client.xack(name, self._group, *entry_ids)
                del entry_ids[:count]

    async def _wait_out(self, error: Exception) -> None:
        """The server restarts, or forgot slices and groups: begin again with what is there."""
        self._cursors.clear()
        self._renew_at_ms = 0.0
        if not self._failing:
            _log.warning("the topic cannot be read, trying again", error=str(error))
            self._failing = True
        await self._backoff.pause()


def owner_key(name: str) -> str:
    """Holds the token of whoever reads the slice; in its slot."""
    return f"{name}:owner"

"""Reads the slices of a topic on a cluster for one consumer, each on its own: one server that is away holds up no slice
of another.

It asks again and again instead of waiting at the server: a blocked call would need a connection a slice, and would
learn late that its slot has moved. The calls of one turn go out together, one write a server.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.broker.reader import CONSUMER, FROM_START, NEW, SliceDelivery, owner_key
from hotsku.errors import BackendUnavailable
from hotsku.log import get_logger
from hotsku.ports import Clock, Lost

if TYPE_CHECKING:
    from hotsku.broker.cluster_streams import Slots

AWAY = (Lost, BackendUnavailable)

_OWNER_TTL_MS = 4_000
_RENEW_EVERY_MS = 1_300.0
_COUNT = 8

# Replies that take longer are looked at in a later turn.
_TURN_S = 0.02
_BUSY_PAUSE_S = 0.01
_IDLE_PAUSE_S = 0.08
_IDLE_AFTER_MS = 500.0
_CLOSE_S = 1.0

_log = get_logger("broker")

# What XREADGROUP answers for one stream: entries of an id and fields; none where it was trimmed away meanwhile.
_Entries = list[tuple[bytes, list[bytes] | None]]


class Slice(Struct, frozen=True):
    """A slice's key, and its slot."""

    name: str
    slot: int


class ClusterReader:
    """One reader of all slices. It owns a slice while it renews the slice's owner key."""

    def __init__(self, slots: "Slots", slices: Sequence[Slice], group: str, clock: Clock, token: str) -> None:
        self._lanes = [_Lane(slots, each, group, clock, token) for each in slices]
        self._clock = clock
        self._found_at_ms = clock.monotonic_ms()
        self._failing = False

    async def read(self) -> list[SliceDelivery]:
        """The next messages; none where there are none, or it owns nothing. Raises no fault."""
        end_if_cancelled()
        tasks = [lane.turn() for lane in self._lanes if lane.due()]
        if tasks:
            await asyncio.wait(tasks, timeout=_TURN_S)
        found = [delivery for lane in self._lanes for delivery in lane.take()]
        self._tell()
        now_ms = self._clock.monotonic_ms()
        if found:
            self._found_at_ms = now_ms
        else:
            idle = now_ms - self._found_at_ms > _IDLE_AFTER_MS
            await asyncio.sleep(_IDLE_PAUSE_S if idle else _BUSY_PAUSE_S)
        return found

    async def close(self) -> None:
        """Let go of the slices, so that another reader need not wait for the owner keys to lapse."""
        tasks = [asyncio.create_task(lane.close()) for lane in self._lanes]
        _, late = await asyncio.wait(tasks, timeout=_CLOSE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _tell(self) -> None:
        faults = [lane.fault for lane in self._lanes if lane.fault]
        if faults and not self._failing:
            _log.warning("a part of the topic cannot be read, trying again", slices=len(faults), error=faults[0])
        elif self._failing and not faults:
            _log.info("all of the topic is read again")
        self._failing = bool(faults)


class _Lane:
    """One slice: whether we own it, where we read next, what was acknowledged."""

    def __init__(self, slots: "Slots", slice_: Slice, group: str, clock: Clock, token: str) -> None:
        self.fault = ""
        self._slots = slots
        self._slice = slice_
        self._group = group
        self._clock = clock
        self._token = token.encode()
        self._cursor: bytes | None = None  # None: not ours
        self._acks: list[bytes] = []
        self._found: list[SliceDelivery] = []
        self._renew_at_ms = 0.0
        self._again_at_ms = 0.0
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None

    def due(self) -> bool:
        """May a turn begin now?"""
        if self._task is not None and not self._task.done():
            return False
        now_ms = self._clock.monotonic_ms()
        return now_ms >= self._again_at_ms and (self._cursor is not None or now_ms >= self._renew_at_ms)

    def turn(self) -> "asyncio.Task[None]":
        """Acknowledge, renew and read, as a task that never fails."""
        self._task = asyncio.create_task(self._turn())
        return self._task

    def take(self) -> list[SliceDelivery]:
        """What the turns have found."""
        found, self._found = self._found, []
        return found

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._cursor is None:
            return
        with suppress(*AWAY):
            await self._acknowledge()
            key = owner_key(self._slice.name)
            if await self._send("GET", key) == self._token:
                await self._send("DEL", key)

    async def _turn(self) -> None:
        try:
            if self._acks:
                await self._acknowledge()
            if self._clock.monotonic_ms() >= self._renew_at_ms:
                await self._hold()
            if self._cursor is not None:
                await self._read(self._cursor)
        except AWAY as error:
            # The server restarts, or forgot slice and group: begin again with what is there.
            self._cursor = None
            self._renew_at_ms = 0.0
            self._again_at_ms = self._clock.monotonic_ms() + 1000 * self._backoff.next_s()
            self.fault = str(error)
        else:
            self._backoff.reset()
            self.fault = ""

    async def _hold(self) -> None:
        key = owner_key(self._slice.name)
        if self._cursor is None or await self._send("GETEX", key, "PX", _OWNER_TTL_MS) != self._token:
            owner = await self._send("SET", key, self._token, "NX", "GET", "PX", _OWNER_TTL_MS)
            if owner is not None and owner != self._token:
                self._cursor = None
            elif self._cursor is None:
                await self._join()
        self._renew_at_ms = self._clock.monotonic_ms() + _RENEW_EVERY_MS

    async def _join(self) -> None:
        try:
            await self._send("XGROUP", "CREATE", self._slice.name, self._group, 0, "MKSTREAM")
        except BackendUnavailable as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._cursor = FROM_START

    async def _read(self, cursor: bytes) -> None:
        group = ("GROUP", self._group, CONSUMER, "COUNT", _COUNT)
        reply = await self._send("XREADGROUP", *group, "STREAMS", self._slice.name, cursor)
        entries = cast("list[tuple[bytes, _Entries]]", reply)[0][1] if reply else []
        if cursor != NEW:
            self._cursor = entries[-1][0] if entries else NEW
        for entry_id, fields in entries:
            if fields:
                self._found.append(SliceDelivery(fields[1], entry_id, self._acks))
            else:  # the relay sends it again where it matters
                self._acks.append(entry_id)

    async def _acknowledge(self) -> None:
        count = len(self._acks)
        if count:
            await self._send("XACK", self._slice.name, self._group, *self._acks)
            del self._acks[:count]

    async def _send(self, *arguments: str | int | bytes) -> object:
        return await self._slots.send(self._slice.slot, *arguments)

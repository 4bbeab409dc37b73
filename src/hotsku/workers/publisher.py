"""Publishes a partition's next events: reads its stream, cuts messages, sees when events are lost."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from hotsku.domain.events import Event, PartitionRef, StreamEntry, encode_message
from hotsku.domain.relaying import MAX_EVENTS, Progress, cut_messages
from hotsku.log import get_logger
from hotsku.ports import Broker, Clock, Fenced, Ledger, Shard, Spans, Stale

# About so many messages of all partitions wait for the ledger; more would only fill the broker.
_WINDOW = 64

# Entries of a stream that are read at once; each has the events of one batch.
_PAGE = 128

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, IndexError)

_log = get_logger("relay")


class Publisher:
    """Sends what waits, within the window."""

    def __init__(self, shard: Shard, ledger: Ledger, broker: Broker, clock: Clock, spans: Spans) -> None:
        self._shard = shard
        self._ledger = ledger
        self._broker = broker
        self._clock = clock
        self._spans = spans
        self._flying: set[Progress] = set()
        self._skus: dict[int, str] = {}
        self._one_at_a_time: defaultdict[PartitionRef, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def has_room(self) -> bool:
        """May another message be sent?"""
        self._flying = {track for track in self._flying if track.flying}
        return sum(len(track.flying) for track in self._flying) < _WINDOW

    def forget(self, track: Progress) -> None:
        """The partition is no longer relayed."""
        track.flying.clear()
        self._flying.discard(track)
        self._one_at_a_time.pop(track.ref, None)

    async def publish(self, track: Progress) -> bool:
        """Send what waits after `track.published`.

        Returns:
            Whether more may wait, which the window or the track hold back.

        Raises:
            Lost, BackendUnavailable: a back end is away; what was sent is in `track`.
            EventsLost: the stream does not have all that the ledger lacks.
        """
        async with self._one_at_a_time[track.ref]:
            while track.may_send and self.has_room:
                after = track.published
                entries = await self._shard.read(track.ref, track.incarnation, after, _PAGE)
                if track.published != after:  # the ledger's watermark overtook the read
                    continue
                events = _events_after(entries, after)
                if not events:
                    return False
                if events[0].seq > after + 1:
                    await self.check_hole(track, events[0].seq)
                    continue
                if await self._send(track, events) and len(entries) < _PAGE and events[-1].seq == entries[-1].last_seq:
                    return False
            return True

    async def check_hole(self, track: Progress, first_seq: int) -> None:
        """The stream has nothing between the watermark and `first_seq`: does the ledger have it?

        Raises:
            EventsLost: it has not.
        """
        # Read after the stream: what another relay trimmed from it was in the ledger before.
        row = await self._ledger.partition(track.ref)
        if row is None or row.incarnation != track.incarnation:
            raise EventsLost(f"the ledger has no incarnation {track.incarnation} any more")
        track.reached(row.watermark, self._clock.monotonic_ms())
        if row.watermark + 1 < first_seq:
            raise EventsLost(f"the stream lost the events {row.watermark + 1} to {first_seq - 1}")

    async def check_stream(self, track: Progress) -> None:
        """Does the stream still have what the ledger lacks? Sees what `publish` cannot: that its end is gone.

        Raises:
            EventsLost: it has not.
        """
        after = track.watermark
        status = await self._shard.status(track.ref)
        if status.incarnation != track.incarnation or status.seq <= after:
            return
        events = _events_after(await self._shard.read(track.ref, track.incarnation, after, 1), after)
        first_seq = events[0].seq if events else status.seq + 1
        if first_seq > after + 1:
            await self.check_hole(track, first_seq)

    async def fence(self, track: Progress, reason: str) -> None:
        """Stop the partition: nothing that it sells could be accounted for."""
        _log.error(
            "the partition is fenced",
            item_id=track.ref.item_id,
            partition=track.ref.partition,
            incarnation=track.incarnation,
            reason=reason,
        )
        await self._ledger.fence_partition(track.ref, track.incarnation, reason)
        try:
            await self._shard.disarm(track.ref, track.incarnation, seal=False)
        except (Fenced, Stale):
            _log.debug("it was not armed", item_id=track.ref.item_id, partition=track.ref.partition)

    async def _send(self, track: Progress, events: list[Event]) -> bool:
        """Returns whether all of it was sent."""
        sku = await self._sku(track.ref.item_id)

        def encode(run: Sequence[Event]) -> bytes:
            return encode_message(self._ledger.ledger_id, sku, track.ref, track.incarnation, run)

        for run, body in cut_messages(events, encode):
            if not (track.may_send and self.has_room):
                return False
            with self._spans.span(
                "relay publish",
                sku=sku,
                item_id=track.ref.item_id,
                partition=track.ref.partition,
                incarnation=track.incarnation,
                events=len(run),
                seq=run[-1].seq,
            ):
                await self._broker.publish(track.ref, body)
            track.sent(run[-1].seq, self._clock.monotonic_ms())
            self._flying.add(track)
        return True

    async def _sku(self, item_id: int) -> str:
        if item_id not in self._skus:
            item = await self._ledger.item_by_id(item_id)
            self._skus[item_id] = item.sku if item is not None else ""
        return self._skus[item_id]


class EventsLost(Exception):
    """A partition's stream does not have all that the ledger lacks: it must not sell on."""


def _events_after(entries: list[StreamEntry], after: int) -> list[Event]:
    """The first events after `after` that are numbered without a gap, about a message's worth: what goes beyond it
    would be read and unpacked again for the next one."""
    events: list[Event] = []
    try:
        for entry in entries:
            if len(events) >= MAX_EVENTS:
                break
            more = [event for event in entry.events() if event.seq > after]
            if events and more and more[0].seq != events[-1].seq + 1:
                break
            events += more
    except _UNREADABLE as error:
        raise EventsLost(f"the stream cannot be read after seq {after}: {error}") from error
    return events

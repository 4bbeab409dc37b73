"""The relay: moves events from the partitions' streams to the broker, until the ledger has them.

Two triggers, each on its own: a count (engines tell when N events have gathered) and a time (whatever waits goes out
each interval). A flush is a third, for rounds that wait for returned units. Between two rounds the relay rests, unless
there is a flush, or the ledger has made room for what a full window held up. What the ledger does not have after a
while is sent again from its watermark, so nothing depends on the broker or on a signal. Streams are trimmed by the
watermark.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from hotsku.backoff import end_if_cancelled
from hotsku.domain.events import PartitionRef
from hotsku.domain.relaying import Progress
from hotsku.log import get_logger
from hotsku.ports import (
    NO_SPANS,
    Broker,
    Clock,
    Fenced,
    Ledger,
    Lost,
    Needs,
    PartitionRow,
    Shard,
    Signals,
    Spans,
    Stale,
    Work,
)
from hotsku.stocking import latest
from hotsku.workers.publisher import EventsLost, Publisher
from hotsku.workers.retrying import AWAY, repeat
from hotsku.workers.tracks import Tracks

# Partitions that are worked on at once: their calls share round trips, and their writes one sync to disk.
_AT_ONCE = 16
_CHECKED_AT_ONCE = 32
_DRAIN_LOOK_S = 0.05

_log = get_logger("relay")

T = TypeVar("T")


class Relay:
    """A role. Two relays at once publish everything twice, which is harmless."""

    name = "relay"

    def __init__(
        self,
        shard: Shard,
        ledger: Ledger,
        broker: Broker,
        signals: Signals,
        clock: Clock,
        *,
        interval_ms: int = 1000,
        upkeep_ms: int = 1000,
        resend_after_ms: int = 2000,
        rest_ms: int = 100,
        spans: Spans = NO_SPANS,
    ) -> None:
        """
        Args:
            interval_ms: the time trigger.
            upkeep_ms: how often the ledger is asked for partitions and watermarks, streams are trimmed, and losses
                looked for.
            resend_after_ms: how long a watermark may stand still below what was published.
            rest_ms: after publishing, what nobody waits for waits so long, but no longer than the time trigger. Where
                a partition reaches its count again at once, a message and its transaction have more events then, and
                cost less for each.
        """
        self._shard = shard
        self._ledger = ledger
        self._clock = clock
        self._publisher = Publisher(shard, ledger, broker, clock, spans)
        self._interval_s = interval_ms / 1000
        self._upkeep_s = upkeep_ms / 1000
        self._rest_s = min(rest_ms, interval_ms) / 1000
        self._tracks = Tracks(clock, resend_after_ms)
        signals.subscribe(needs=self._hear_needs, work=self._hear_work)

    def published(self) -> dict[PartitionRef, tuple[int, int]]:
        """How far it has sent each partition's events: incarnation, and the last seq."""
        return {track.ref: (track.incarnation, track.published) for track in self._tracks.all()}

    async def run(self) -> None:
        """Relay until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self.name, self._publish_when_due))
            group.create_task(repeat(self.name, _paced(self._look_what_waits, self._interval_s)))
            group.create_task(repeat(self.name, _paced(self._keep_up, self._upkeep_s)))

    async def drain(self, timeout_ms: int) -> list[PartitionRef]:
        """Publish everything that waits, and wait until the ledger has it (an applier must run somewhere).

        Returns:
            The partitions whose events are not all in the ledger after `timeout_ms`; none when all is done.

        Raises:
            Lost, BackendUnavailable: a back end was away all the time, so nobody knows.
        """
        deadline_ms = self._clock.monotonic_ms() + timeout_ms
        left: list[PartitionRef] | None = None
        while True:
            try:
                left = await self._drain_once()
                if not left:
                    return []
            except AWAY:
                end_if_cancelled()
                if left is None and self._clock.monotonic_ms() >= deadline_ms:
                    raise
            if left is not None and self._clock.monotonic_ms() >= deadline_ms:
                _log.warning("not everything is in the ledger", partitions=len(left))
                return left
            self._tracks.moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_LOOK_S):
                    await self._tracks.moved.wait()

    async def _drain_once(self) -> list[PartitionRef]:
        self._adopt(latest(await self._ledger.partitions()))
        waiting = await self._shard.waiting([(t.ref, t.incarnation, t.watermark) for t in self._tracks.all()])
        self._tracks.make_due(waiting.found)
        await self._publish_due()
        return waiting.found + waiting.unknown

    # --- the triggers ---

    def _hear_needs(self, needs: Needs) -> None:
        self._tracks.make_due(counted.ref for counted in needs.counted)

    def _hear_work(self, work: Work) -> None:
        for ref, incarnation, watermark in work.applied:
            track = self._tracks.get(ref)
            if track is not None and track.incarnation == incarnation:
                self._tracks.reach(track, watermark)
        self._tracks.mend(work.flush)
        self._tracks.make_due(work.flush, first=True)  # somebody waits for these

    async def _look_what_waits(self) -> None:
        tracks = [(t.ref, t.incarnation, t.published) for t in self._tracks.all()]
        self._tracks.make_due((await self._shard.waiting(tracks)).found)

    # --- publishing ---

    async def _publish_when_due(self) -> None:
        await self._tracks.wake.wait()
        self._tracks.wake.clear()
        self._tracks.urgent.clear()
        await self._publish_due()
        if not self._tracks.any_due:  # else the window is full, and goes on as soon as the ledger has moved
            await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest_s):
                await self._tracks.urgent.wait()

    async def _publish_due(self) -> None:
        """Publish what is due, as far as the window goes; the rest stays due until the ledger has moved."""
        while self._tracks.any_due and self._publisher.has_room:
            refs = self._tracks.take_due(_AT_ONCE)
            try:
                await asyncio.gather(*(self._publish(ref) for ref in refs))
            except BaseException:
                self._tracks.make_due(refs)  # again, once the back end is there
                raise

    async def _publish(self, ref: PartitionRef) -> None:
        track = self._tracks.get(ref) or await self._learn(ref)
        if track is None:
            return
        try:
            if await self._publisher.publish(track):
                self._tracks.put_back(track)
        except EventsLost as error:
            await self._fence(track, str(error))
        except Lost as lost:
            # Felt by this shard's partitions alone; the timer finds them again when it is back.
            _log.debug("a shard is away", item_id=ref.item_id, partition=ref.partition, why=str(lost))

    async def _learn(self, ref: PartitionRef) -> Progress | None:
        row = await self._ledger.partition(ref)
        return self._tracks.follow(row) if row is not None and self._tracks.relayed(row) else None

    # --- upkeep ---

    async def _keep_up(self) -> None:
        rows = latest(await self._ledger.partitions())
        self._adopt(rows)
        self._tracks.send_stalled_again()
        await _in_batches(self._trim, [row for row in rows if row.state == "open"])
        await _in_batches(self._check, self._tracks.next_in_turn(_CHECKED_AT_ONCE))

    def _adopt(self, rows: Sequence[PartitionRow]) -> None:
        for track in self._tracks.adopt(rows):
            self._publisher.forget(track)

    async def _trim(self, row: PartitionRow) -> None:
        track = self._tracks.get(row.ref)
        if track is None or track.incarnation != row.incarnation or row.watermark <= track.trimmed:
            return
        # A fenced or newer partition is the recoverer's, and one whose shard is away is in nobody's way: it can wait.
        with suppress(Fenced, Stale, Lost):
            await self._shard.trim(row.ref, row.incarnation, row.watermark)
            track.trimmed = row.watermark

    async def _check(self, track: Progress) -> None:
        try:
            await self._publisher.check_stream(track)
        except EventsLost as error:
            await self._fence(track, str(error))
        except Lost as lost:
            _log.debug("a shard is away", item_id=track.ref.item_id, partition=track.ref.partition, why=str(lost))

    async def _fence(self, track: Progress, reason: str) -> None:
        await self._publisher.fence(track, reason)
        self._tracks.broken(track)
        self._publisher.forget(track)


async def _in_batches(work: Callable[[T], Awaitable[None]], things: Sequence[T]) -> None:
    for start in range(0, len(things), _AT_ONCE):
        await asyncio.gather(*(work(thing) for thing in things[start : start + _AT_ONCE]))


def _paced(step: Callable[[], Awaitable[None]], pause_s: float) -> Callable[[], Awaitable[None]]:
    async def paced() -> None:
        await step()
        await asyncio.sleep(pause_s)

    return paced

"""The relay's books: how far each open partition has come, and which are to be published next."""

import asyncio
from collections.abc import Iterable, Sequence

from hotsku.domain.events import PartitionRef
from hotsku.domain.relaying import Landings, Progress
from hotsku.log import get_logger
from hotsku.ports import Clock, PartitionRow

_log = get_logger("relay")


class Tracks:
    """Every open partition's progress, and the queue of those that are due.

    Attributes:
        wake: set when there may be something to publish.
        urgent: set when that should not wait: somebody waits for it, or had its share in flight until now.
        moved: set when the ledger has more than before.
    """

    def __init__(self, clock: Clock, resend_after_ms: int) -> None:
        self._clock = clock
        self._resend_after_ms = float(resend_after_ms)
        self._tracks: dict[PartitionRef, Progress] = {}
        self._landings = Landings()
        self._due: dict[PartitionRef, None] = {}  # in the order in which they are served
        self._held: set[PartitionRef] = set()  # have their share in flight
        self._broken: set[tuple[PartitionRef, int]] = set()
        self._turn = 0
        self.wake = asyncio.Event()
        self.urgent = asyncio.Event()
        self.moved = asyncio.Event()

    def get(self, ref: PartitionRef) -> Progress | None:
        return self._tracks.get(ref)

    def all(self) -> list[Progress]:
        return list(self._tracks.values())

    # --- what is due ---

    @property
    def any_due(self) -> bool:
        return bool(self._due)

    def make_due(self, refs: Iterable[PartitionRef], *, first: bool = False) -> None:
        """Publish these next, after those that are due already, or `first`."""
        more = dict.fromkeys(refs)
        if more:
            self._due = more | self._due if first else self._due | more
            self.wake.set()
            if first:
                self.urgent.set()

    def take_due(self, count: int) -> list[PartitionRef]:
        """The next ones, at most `count`; they are no longer due."""
        refs = list(self._due)[:count]
        for ref in refs:
            del self._due[ref]
        return refs

    def put_back(self, track: Progress) -> None:
        """More of it waits: it is due again when the ledger has moved."""
        if track.may_send:
            self._due[track.ref] = None  # held up by the window that all share
        else:
            self._held.add(track.ref)

    # --- what the ledger has ---

    def relayed(self, row: PartitionRow) -> bool:
        """Are the partition's events published? Also a fenced one's, as far as its stream has them: its next
        incarnation waits for that."""
        return row.state in ("open", "fenced") and (row.ref, row.incarnation) not in self._broken

    def broken(self, track: Progress) -> None:
        """Its stream does not have all that the ledger lacks: follow it no more, until somebody finds otherwise."""
        self._broken.add((track.ref, track.incarnation))
        self.drop(track)

    def mend(self, refs: Iterable[PartitionRef]) -> None:
        """Somebody has seen events in these streams that the ledger lacks: what was missing may be there again."""
        if self._broken:
            mended = set(refs)
            self._broken = {(ref, incarnation) for ref, incarnation in self._broken if ref not in mended}

    def adopt(self, rows: Sequence[PartitionRow]) -> list[Progress]:
        """Follow every partition that is relayed, from the ledger's watermark. Returns those that are so no more."""
        open_rows = {row.ref: row for row in rows if self.relayed(row)}
        gone = [self._tracks[ref] for ref in self._tracks.keys() - open_rows.keys()]
        for track in gone:
            self.drop(track)
        for row in open_rows.values():
            self.reach(self.follow(row), row.watermark)
        return gone

    def follow(self, row: PartitionRow) -> Progress:
        """The progress of an open partition; a newer incarnation takes the place of an older one."""
        track = self._tracks.get(row.ref)
        if track is None or track.incarnation < row.incarnation:
            self._held.discard(row.ref)
            track = self._tracks[row.ref] = Progress(
                ref=row.ref,
                incarnation=row.incarnation,
                watermark=row.watermark,
                patience_ms=self._resend_after_ms,
                since_ms=self._clock.monotonic_ms(),
                landings=self._landings,
            )
        return track

    def drop(self, track: Progress) -> None:
        """Follow it no more."""
        track.flying.clear()
        if self._tracks.get(track.ref) is track:
            del self._tracks[track.ref]
        self._held.discard(track.ref)
        self.wake.set()

    def reach(self, track: Progress, watermark: int) -> None:
        """The ledger has everything up to `watermark`: what waited for that goes on."""
        if not track.reached(watermark, self._clock.monotonic_ms()):
            return
        self.moved.set()
        if track.ref in self._held:
            self._held.discard(track.ref)
            self._due[track.ref] = None
            self.urgent.set()
        if self._due:
            self.wake.set()

    def send_stalled_again(self) -> None:
        """Where the ledger has stood still for too long, begin again after its watermark."""
        now_ms = self._clock.monotonic_ms()
        for track in [track for track in self._tracks.values() if track.stalled(now_ms)]:
            _log.info(
                "the ledger does not move, sending again",
                item_id=track.ref.item_id,
                partition=track.ref.partition,
                watermark=track.watermark,
                published=track.published,
                resends=track.resends + 1,
            )
            track.rewind(now_ms)
            self._held.discard(track.ref)
            self.make_due([track.ref])

    def next_in_turn(self, count: int) -> list[Progress]:
        """Up to `count` partitions, others at each call until all had their turn."""
        tracks = self.all()
        start = self._turn % len(tracks) if tracks else 0
        self._turn = start + count
        return tracks[start : start + count]

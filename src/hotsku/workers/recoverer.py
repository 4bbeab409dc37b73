"""The recoverer: arms again what a restart has unarmed where the memory is proven to be all of it, and has a new
incarnation begin where it is not, or where another copy has taken over."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from hotsku.domain.events import PartitionRef
from hotsku.domain.recovery import Evidence, Verdict, judge_restart
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.log import get_logger
from hotsku.ports import (
    Clock,
    Durability,
    Fenced,
    FencedReport,
    Ledger,
    Lost,
    Needs,
    News,
    PartitionRow,
    PartitionStatus,
    Shard,
    Signals,
    Stale,
    Work,
)
from hotsku.stocking import configure_newest, latest, reachable
from hotsku.workers.renewal import Renewal
from hotsku.workers.retrying import repeat

# Partitions that one look asks for at most, turn by turn. A restart unarms all of a server at once: the first that is
# found unarmed makes the look go over all of them.
_SAMPLE = 64
_AT_ONCE = 64
# Between two looks while a partition is on its way to a new incarnation.
_RENEWING_INTERVAL_S = 0.05

_log = get_logger("recoverer")

P = ParamSpec("P")
R = TypeVar("R")


class Recoverer:
    """A role. Looks every `interval_ms`, and at once when an engine reports a fence."""

    name = "recoverer"

    def __init__(
        self,
        shard: Shard,
        ledger: Ledger,
        signals: Signals,
        clock: Clock,
        renewal: Renewal,
        *,
        prepare: Callable[[], Awaitable[None]],
        replica_acks: int | None = None,
        interval_ms: int = 1000,
        lost_after_ms: int = 15_000,
    ) -> None:
        """
        Args:
            prepare: loads the function library where a server that has joined does not have it.
            replica_acks: how many replicas an acknowledgement waits for; None: all.
            lost_after_ms: how long a partition that is not proven waits for a better proof (the right files, another
                server) before it is given up.
        """
        self._shard = shard
        self._ledger = ledger
        self._signals = signals
        self._clock = clock
        self._renewal = renewal
        self._prepare = prepare
        self._replica_acks = replica_acks
        self._interval_s = interval_ms / 1000
        self._lost_after_ms = lost_after_ms
        self._acknowledged: dict[tuple[PartitionRef, int], int] = {}
        self._reported: dict[PartitionRef, None] = {}
        self._wake = asyncio.Event()
        self._turn = 0
        self._look_at_all = True
        self._has_fenced = False  # in this look, so that the next one may be soon
        self._renewing = False
        self._unprepared = ""
        self._said: dict[tuple[PartitionRef, int], str] = {}
        self._lost_since_ms: dict[tuple[PartitionRef, int], float] = {}
        signals.subscribe(needs=self._hear, work=self._hear_applied)

    async def run(self) -> None:
        """Look until cancelled."""
        self._look_at_all = True
        await repeat(self.name, self._look_and_wait)

    async def look(self) -> None:
        """Look once at the partitions that were reported, and at a sample of the open ones (at all of them after a
        start or an outage, or where one is unarmed); lead those on that are on their way to a new incarnation."""
        reported, self._reported = self._reported, {}
        self._has_fenced = False
        try:
            await self._prepare_servers()
            rows = latest(await self._ledger.partitions())
            open_rows = [row for row in rows if row.state == "open"]
            await self._keep_marks(open_rows)
            unarmed = await self._find_unarmed(open_rows, reported)
            rearmed = await self._rearm(unarmed) + await self._renew(rows)
            await self._ledger.end_quarantines(self._clock.now_ms())
        except BaseException:
            self._look_at_all = True  # the shard may have restarted meanwhile
            raise
        # An engine that reports a fence which is not there has missed the news.
        missed = {row.ref for row in open_rows if row.ref in reported} - {row.ref for row in unarmed}
        if rearmed:
            _log.info("armed again", partitions=len(rearmed), of_unarmed=len(unarmed))
        if rearmed or missed:
            self._signals.publish(News(rearmed=[*rearmed, *sorted(missed)]))

    def _hear(self, needs: Needs) -> None:
        for report in needs.fenced:
            self._note(report)
        if needs.fenced:
            self._wake.set()

    def _hear_applied(self, work: Work) -> None:
        if self._renewing and work.applied:
            self._wake.set()

    def _note(self, report: FencedReport) -> None:
        key = (report.ref, report.incarnation)
        self._acknowledged[key] = max(report.acknowledged_seq, self._acknowledged.get(key, 0))
        self._reported[report.ref] = None

    async def _look_and_wait(self) -> None:
        self._wake.clear()
        await self.look()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RENEWING_INTERVAL_S if self._renewing else self._interval_s):
                await self._wake.wait()

    def _sample(self, rows: Sequence[PartitionRow], reported: Iterable[PartitionRef]) -> list[PartitionRow]:
        start = self._turn % len(rows) if rows else 0
        self._turn = start + _SAMPLE
        chosen = {row.ref: row for row in [*rows[start:], *rows[:start]][:_SAMPLE]}
        wanted = set(reported)
        return list((chosen | {row.ref: row for row in rows if row.ref in wanted}).values())

    async def _find_unarmed(self, rows: Sequence[PartitionRow], reported: Iterable[PartitionRef]) -> list[PartitionRow]:
        first = rows if self._look_at_all else self._sample(rows, reported)
        unarmed, away = await self._unarmed(first)
        if unarmed and len(first) < len(rows):
            seen = {row.ref for row in first}
            more, more_away = await self._unarmed([row for row in rows if row.ref not in seen])
            unarmed, away = unarmed + more, away or more_away
        self._look_at_all = away  # what cannot be reached may restart
        return unarmed

    async def _unarmed(self, rows: Sequence[PartitionRow]) -> tuple[list[PartitionRow], bool]:
        """Those that are not armed; and whether some could not be asked."""
        unarmed: list[PartitionRow] = []
        away = False
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            statuses = await _unless_lost(reachable, self._shard, [row.ref for row in some], self._say_refused) or {}
            away = away or len(statuses) < len(some)
            for row in some:
                status = statuses.get(row.ref)
                if status is not None and status.armed:
                    self._lost_since_ms.pop((row.ref, row.incarnation), None)  # also where another recoverer armed it
                elif status is not None:
                    unarmed.append(row)
        return unarmed, away

    async def _prepare_servers(self) -> None:
        """One that cannot be prepared is felt by its partitions alone."""
        try:
            await self._prepare()
        except (BackendUnavailable, InvalidSettings) as error:
            if str(error) != self._unprepared:
                _log.warning("a server has no function library", why=str(error))
            self._unprepared = str(error)
        else:
            self._unprepared = ""

    # --- the same incarnation goes on ---

    async def _rearm(self, rows: Sequence[PartitionRow]) -> list[PartitionRef]:
        if not rows:
            return []
        rearmed = []
        # Arming breaks a seal, and that must not be forgotten: a seal that came back would prove what is lost.
        async with self._shard.syncing_every_write([row.ref for row in rows]):
            durabilities = await self._durabilities(rows)
            for start in range(0, len(rows), _AT_ONCE):
                some = [row for row in rows[start : start + _AT_ONCE] if self._shard.name_of(row.ref) in durabilities]
                armed = await asyncio.gather(
                    *(
                        self._unless_refused(row.ref, self._rearm_one, durabilities[self._shard.name_of(row.ref)])
                        for row in some
                    )
                )
                rearmed += [row.ref for row, each in zip(some, armed, strict=True) if each]
        return rearmed

    async def _rearm_one(self, ref: PartitionRef, durability: Durability) -> bool:
        memory = await self._shard.memory(ref)
        status = await self._shard.status(ref)
        if status.armed:
            return True
        row = await self._ledger.partition(ref)  # after the status: the watermark only grows
        if row is None or row.state != "open":
            return False
        verdict = self._judge(row, status, durability)
        if verdict.action == "arm":
            if row.durability == "durable" and not durability.every_write_synced:
                await self._ledger.mark_fast(ref, row.incarnation)  # from here on only a seal proves a restart
            if await self._shard.arm(ref, row.incarnation, status.seq, memory):
                self._say(row, status, verdict)
                with suppress(Fenced, Stale):  # it may have missed a pause while it was away
                    await configure_newest(self._ledger, self._shard, row)
                return True
            if (await self._shard.status(ref)).armed:  # another recoverer was quicker
                return True
            why = "the shard refused: its memory changed under an armed fence, or does not add up"
            verdict = Verdict("lost", why)
        self._say(row, status, verdict)
        given_up = not verdict.proven and self._given_up(row)
        if given_up or max(status.seq, row.watermark) < self._acknowledged_of(row):
            await self._ledger.mark_fast(ref, row.incarnation)  # another recoverer may not have heard of it
        if verdict.action == "renew" or given_up:
            await self._ledger.fence_partition(ref, row.incarnation, verdict.reason)
            self._has_fenced = True
        return False

    def _given_up(self, row: PartitionRow) -> bool:
        now_ms = self._clock.monotonic_ms()
        since_ms = self._lost_since_ms.setdefault((row.ref, row.incarnation), now_ms)
        return now_ms - since_ms >= self._lost_after_ms

    def _judge(self, row: PartitionRow, status: PartitionStatus, durability: Durability) -> Verdict:
        return judge_restart(_evidence(row, status, durability, self._acknowledged_of(row)))

    def _acknowledged_of(self, row: PartitionRow) -> int:
        return self._acknowledged.get((row.ref, row.incarnation), 0)

    # --- a new incarnation ---

    async def _renew(self, rows: Sequence[PartitionRow]) -> list[PartitionRef]:
        """Lead fenced and rebuilding partitions on. Returns those that are open now."""
        refs = [row.ref for row in rows if row.state in ("fenced", "rebuilding")]
        opened: list[bool | None] = []
        for start in range(0, len(refs), _AT_ONCE):
            some = refs[start : start + _AT_ONCE]
            opened += await asyncio.gather(*(self._unless_refused(ref, self._renew_one) for ref in some))
        self._renewing = self._has_fenced or False in opened
        return [ref for ref, each in zip(refs, opened, strict=True) if each]

    async def _unless_refused(
        self,
        ref: PartitionRef,
        work: Callable[Concatenate[PartitionRef, P], Awaitable[bool | None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bool | None:
        """A server that refuses (it is full; a key is somebody else's) is felt by its partitions alone."""
        try:
            return await _unless_lost(work, ref, *args, **kwargs)
        except BackendUnavailable as error:
            _log.warning("not led on yet", item_id=ref.item_id, partition=ref.partition, why=str(error))
            return None

    async def _renew_one(self, ref: PartitionRef) -> bool | None:
        """Whether it is open; None: there is nothing to be done for it yet."""
        row = await self._ledger.partition(ref)
        if row is not None and row.state == "fenced":
            status = await self._shard.status(ref)
            fenced, row = row, await self._ledger.partition(ref)  # after the status: the watermark only grows
            if row is None or (row.incarnation, row.state) != (fenced.incarnation, "fenced"):
                return False  # another recoverer is further, and what it begins is not ours to end
            verdict = self._judge(row, status, await self._shard.durability(ref))
            if not verdict.proven:
                self._say(row, status, verdict)
                if not self._given_up(row):
                    return None  # the right files may come back, and what was published may not be booked yet
            if not await self._renewal.close(row, proven=verdict.proven):
                return False
        return await self._renewal.rebuild(ref)

    # --- what may not be forgotten ---

    async def _keep_marks(self, rows: Sequence[PartitionRow]) -> None:
        """Mark the partitions whose server does not keep, or not alone, what they count on: a restart or a promotion
        later on proves nothing."""
        durabilities = await self._durabilities(rows)
        for row in rows:
            durability = durabilities.get(self._shard.name_of(row.ref))
            if durability is not None and self._too_little(row, durability):
                await self._ledger.mark_fast(row.ref, row.incarnation)

    def _too_little(self, row: PartitionRow, durability: Durability) -> bool:
        if row.durability == "fast":
            return False
        if not durability.every_write_synced:
            return True
        if row.durability == "durable":
            return durability.copies > 0
        return self._replica_acks is not None and durability.copies > self._replica_acks

    async def _durabilities(self, rows: Sequence[PartitionRow]) -> dict[str, Durability]:
        """By server; those that are away are left out."""
        one_of = {self._shard.name_of(row.ref): row.ref for row in rows}
        found = await asyncio.gather(*(_unless_lost(self._shard.durability, ref) for ref in one_of.values()))
        return {name: each for name, each in zip(one_of, found, strict=True) if each is not None}

    def _say_refused(self, ref: PartitionRef, why: str) -> None:
        if self._said.get((ref, 0)) != why:
            self._said[ref, 0] = why
            _log.error(
                "the shard refuses to tell of a partition", item_id=ref.item_id, partition=ref.partition, why=why
            )

    def _say(self, row: PartitionRow, status: PartitionStatus, verdict: Verdict) -> None:
        key = (row.ref, row.incarnation)
        what = {"item_id": row.item_id, "partition": row.partition, "incarnation": row.incarnation, "seq": status.seq}
        if verdict.action == "arm":
            self._said.pop(key, None)
            self._lost_since_ms.pop(key, None)
            _log.debug("armed again", reason=verdict.reason, **what)
        elif self._said.get(key) != verdict.reason:
            self._said[key] = verdict.reason
            log = _log.error if verdict.action == "lost" else _log.info
            log("not armed, it needs a new incarnation", reason=verdict.reason, **what)


async def _unless_lost(work: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """None where the shard is away: that is felt by its partitions alone."""
    try:
        return await work(*args, **kwargs)
    except Lost:
        return None


def _evidence(row: PartitionRow, status: PartitionStatus, durability: Durability, acknowledged_seq: int) -> Evidence:
    return Evidence(
        ledger_incarnation=row.incarnation,
        watermark=row.watermark,
        durability=row.durability,
        incarnation=status.incarnation,
        seq=status.seq,
        stream_seq=status.stream_seq,
        sealed=status.sealed,
        whole=status.whole,
        every_write_synced=durability.every_write_synced,
        single_copy=durability.single_copy,
        acknowledged_seq=acknowledged_seq,
    )

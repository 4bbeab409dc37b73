"""The recoverer: arms again what a restart has unarmed, where the memory is proven to be all of it."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from hotsku.domain.events import PartitionRef
from hotsku.domain.recovery import Evidence, Verdict, judge_restart
from hotsku.log import get_logger
from hotsku.ports import (
    Durability,
    FencedReport,
    Ledger,
    Needs,
    News,
    PartitionRow,
    PartitionStatus,
    Shard,
    Signals,
)
from hotsku.workers.retrying import repeat

# Partitions that one look asks for at most, turn by turn. A restart unarms all of a shard at once: the first that is
# found unarmed makes the look go over all of them.
_SAMPLE = 64
_AT_ONCE = 64

_log = get_logger("recoverer")


class Recoverer:
    """A role. Looks every `interval_ms`, and at once when an engine reports a fence."""

    name = "recoverer"

    def __init__(self, shard: Shard, ledger: Ledger, signals: Signals, *, interval_ms: int = 1000) -> None:
        self._shard = shard
        self._ledger = ledger
        self._signals = signals
        self._interval_s = interval_ms / 1000
        self._acknowledged: dict[tuple[PartitionRef, int], int] = {}
        self._reported: dict[PartitionRef, None] = {}
        self._wake = asyncio.Event()
        self._turn = 0
        self._look_at_all = True
        self._said: dict[tuple[PartitionRef, int], str] = {}
        signals.subscribe(needs=self._hear)

    async def run(self) -> None:
        """Look until cancelled."""
        self._look_at_all = True
        await repeat(self.name, self._look_and_wait)

    async def look(self) -> None:
        """Look once at the partitions that were reported, and at a sample of the open ones (at all of them after a
        start or an outage, or where one is unarmed)."""
        reported, self._reported = self._reported, {}
        try:
            rows = [row for row in await self._ledger.partitions() if row.state == "open"]
            first = rows if self._look_at_all else self._sample(rows, reported)
            unarmed = await self._unarmed(first)
            if unarmed and len(first) < len(rows):
                seen = {row.ref for row in first}
                unarmed += await self._unarmed([row for row in rows if row.ref not in seen])
            rearmed = await self._rearm(unarmed)
        except BaseException:
            self._look_at_all = True  # the shard may have restarted meanwhile
            raise
        self._look_at_all = False
        # An engine that reports a fence which is not there has missed the news.
        missed = {row.ref for row in rows if row.ref in reported} - {row.ref for row in unarmed}
        if rearmed:
            _log.info("armed again", partitions=len(rearmed), of_unarmed=len(unarmed))
        if rearmed or missed:
            self._signals.publish(News(rearmed=[*rearmed, *sorted(missed)]))

    def _hear(self, needs: Needs) -> None:
        for report in needs.fenced:
            self._note(report)
        if needs.fenced:
            self._wake.set()

    def _note(self, report: FencedReport) -> None:
        key = (report.ref, report.incarnation)
        self._acknowledged[key] = max(report.acknowledged_seq, self._acknowledged.get(key, 0))
        self._reported[report.ref] = None

    async def _look_and_wait(self) -> None:
        self._wake.clear()
        await self.look()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._wake.wait()

    def _sample(self, rows: Sequence[PartitionRow], reported: Iterable[PartitionRef]) -> list[PartitionRow]:
        start = self._turn % len(rows) if rows else 0
        self._turn = start + _SAMPLE
        chosen = {row.ref: row for row in [*rows[start:], *rows[:start]][:_SAMPLE]}
        wanted = set(reported)
        return list((chosen | {row.ref: row for row in rows if row.ref in wanted}).values())

    async def _unarmed(self, rows: Sequence[PartitionRow]) -> list[PartitionRow]:
        unarmed = []
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            statuses = await asyncio.gather(*(self._shard.status(row.ref) for row in some))
            unarmed += [row for row, status in zip(some, statuses, strict=True) if not status.armed]
        return unarmed

    async def _rearm(self, rows: Sequence[PartitionRow]) -> list[PartitionRef]:
        if not rows:
            return []
        durability = await self._shard.durability()
        rearmed = []
        # Arming breaks a seal, and that must not be forgotten: a seal that came back would prove what is lost.
        async with self._shard.syncing_every_write():
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                proven = await asyncio.gather(*(self._rearm_one(row.ref, durability) for row in some))
                rearmed += [row.ref for row, armed in zip(some, proven, strict=True) if armed]
        return rearmed

    async def _rearm_one(self, ref: PartitionRef, durability: Durability) -> bool:
        memory = await self._shard.memory(ref)
        status = await self._shard.status(ref)
        if status.armed:
            return True
        row = await self._ledger.partition(ref)  # after the status: the watermark only grows
        if row is None or row.state != "open":
            return False
        acknowledged_seq = self._acknowledged.get((ref, row.incarnation), 0)
        verdict = judge_restart(_evidence(row, status, durability, acknowledged_seq))
        if verdict.proven and row.durability == "durable" and not durability.every_write_synced:
            await self._ledger.mark_fast(ref, row.incarnation)  # from here on only a seal proves a restart
        if verdict.proven and not await self._shard.arm(ref, row.incarnation, status.seq, memory):
            if (await self._shard.status(ref)).armed:  # another recoverer was quicker
                return True
            verdict = Verdict(False, "the shard refused: its memory changed under an armed fence, or does not add up")
        self._say(row, status, verdict)
        return verdict.proven

    def _say(self, row: PartitionRow, status: PartitionStatus, verdict: Verdict) -> None:
        key = (row.ref, row.incarnation)
        what = {"item_id": row.item_id, "partition": row.partition, "incarnation": row.incarnation, "seq": status.seq}
        if verdict.proven:
            self._said.pop(key, None)
            _log.debug("armed again", reason=verdict.reason, **what)
        elif self._said.get(key) != verdict.reason:
            self._said[key] = verdict.reason
            _log.error("not armed, it needs a recovery", reason=verdict.reason, **what)


def _evidence(row: PartitionRow, status: PartitionStatus, durability: Durability, acknowledged_seq: int) -> Evidence:
    return Evidence(
        ledger_incarnation=row.incarnation,
        watermark=row.watermark,
        began_durable=row.durability == "durable",
        incarnation=status.incarnation,
        seq=status.seq,
        stream_seq=status.stream_seq,
        sealed=status.sealed,
        every_write_synced=durability.every_write_synced,
        single_copy=durability.single_copy,
        acknowledged_seq=acknowledged_seq,
    )

"""The auditor: reads the ledger and the shards while both move, and says which equations of conservation hold."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from hotsku.domain.conservation import AuditReport, Findings
from hotsku.domain.equations import fence_holds, item_equations, ledger_equations
from hotsku.domain.events import PartitionRef, StreamEntry
from hotsku.domain.evidence import Booked, Bought, ItemEvidence, LedgerWide, Live, Memory, Rows
from hotsku.errors import BackendUnavailable
from hotsku.ports import Ledger, LedgerFigures, Lost, PartitionFigures, PartitionStatus, Shard

_AT_ONCE = 64
# An entry is a batch of up to 1,000 events.
_ENTRIES_A_READ = 50

T = TypeVar("T")
R = TypeVar("R")


class Auditor:
    """Audits one ledger and its shard. It only reads, and takes no lock: any number may run during a sale."""

    def __init__(self, ledger: Ledger, shard: Shard) -> None:
        self._ledger = ledger
        self._shard = shard

    async def audit(self, item_id: int | None = None) -> AuditReport:
        """Check every equation, of one item or of all.

        The shards are read before and after the ledger, and the ledger once, as one snapshot: what the ledger has, the
        shard must have had before, or have after.

        Raises:
            BackendUnavailable: the ledger or a shard cannot be reached.
        """
        try:
            return await self._audit(item_id)
        except Lost as error:
            raise BackendUnavailable(str(error)) from error

    async def _audit(self, item_id: int | None) -> AuditReport:
        refs = {row.ref for row in await self._ledger.partitions(item_id)}
        before = await self._statuses(refs)
        figures = await self._ledger.figures(item_id)
        latest = {each.row.ref: each for each in figures.partitions}  # incarnations come in order
        streams = dict(await _each(latest.values(), lambda each: self._stream(each, before)))
        after = await self._statuses(latest)
        limits = {item.item_id: item.limit_per_buyer for item in figures.items}

        async def complete(each: PartitionFigures) -> tuple[PartitionRef, Live]:
            ref = each.row.ref
            live = Live(
                booked=_booked(each),
                before=_memory(before.get(ref)),
                after=_memory(after[ref]),
                stream=streams[ref],
                earlier=_earlier(figures, each) if each.row.incarnation > 1 else [],
            )
            return ref, await self._complete(ref, live, limited=limits.get(ref.item_id) is not None)

        return await _report(figures, dict(await _each(latest.values(), complete)))

    async def _statuses(self, refs: Iterable[PartitionRef]) -> dict[PartitionRef, PartitionStatus]:
        async def read(ref: PartitionRef) -> tuple[PartitionRef, PartitionStatus]:
            return ref, await self._shard.status(ref)

        return dict(await _each(refs, read))

    async def _stream(
        self, each: PartitionFigures, before: dict[PartitionRef, PartitionStatus]
    ) -> tuple[PartitionRef, list[tuple[int, int]]]:
        """The (first, last) seq of each entry that the ledger does not have, as far as `before` had come."""
        ref, incarnation, last = each.row.ref, each.row.incarnation, each.row.watermark
        status = before.get(ref)
        runs: list[tuple[int, int]] = []
        while status is not None and status.incarnation == incarnation and last < status.seq:
            entries = await self._shard.read(ref, incarnation, last, _ENTRIES_A_READ)
            if not entries:
                break
            runs += [(entry.last_seq - _size(entry) + 1, entry.last_seq) for entry in entries]
            last = entries[-1].last_seq
        return ref, runs

    async def _complete(self, ref: PartitionRef, live: Live, *, limited: bool) -> Live:
        """Add what only some partitions need: leases on their way, a second look at a fence, the buyers' counts."""
        booked, before = live.booked, live.before
        if live.same_incarnation and before.lease_no < booked.lease_no:
            leases = await self._ledger.leases_after(ref, booked.incarnation, before.lease_no)
            units = [each.quantity for each in leases if each.no <= booked.lease_no]
            live = replace(live, on_the_way=Rows(count=len(units), quantity=sum(units)))
        if not fence_holds(live):
            row = await self._ledger.partition(ref)
            if row is not None:
                status = await self._shard.status(ref)
                live = replace(live, fence=(row.state, row.incarnation, _memory(status)))
        if limited and live.same_incarnation and live.at_rest:
            units = await self._shard.bought(ref)
            if _memory(await self._shard.status(ref)) == live.after:
                live = replace(live, bought=Bought(sum(units), max(units, default=0)))
        return live


async def _report(figures: LedgerFigures, live: dict[PartitionRef, Live]) -> AuditReport:
    booked: dict[int, list[Booked]] = defaultdict(list)
    for each in figures.partitions:
        booked[each.row.item_id].append(_booked(each))
    alive: dict[int, list[Live]] = defaultdict(list)
    for ref, one in live.items():
        alive[ref.item_id].append(one)
    findings = Findings(len(figures.items))
    at_rest = True
    for item in figures.items:
        evidence = ItemEvidence(
            sku=item.sku,
            total=item.total,
            pool=item.pool,
            given_back=item.given_back,
            limit_per_buyer=item.limit_per_buyer,
            booked=booked[item.item_id],
            live=alive[item.item_id],
        )
        findings.add(item_equations(evidence))
        at_rest = at_rest and evidence.at_rest
        await asyncio.sleep(0)  # a sale may run in this process
    findings.add(ledger_equations(msgspec.convert(figures, LedgerWide, from_attributes=True)))
    return findings.report(at_rest=at_rest, partitions=len(live))


def _earlier(figures: LedgerFigures, each: PartitionFigures) -> list[Booked]:
    return [_booked(other) for other in figures.partitions if other.row.ref == each.row.ref and other is not each]


def _booked(each: PartitionFigures) -> Booked:
    row = each.row
    tallies = msgspec.structs.asdict(each)
    tallies.pop("row")
    return msgspec.convert({**msgspec.structs.asdict(row), **tallies}, Booked, from_attributes=True)


def _memory(status: PartitionStatus | None) -> Memory:
    return Memory() if status is None else msgspec.convert(status, Memory, from_attributes=True)


def _size(entry: StreamEntry) -> int:
    """How many events the entry has; none where what it holds is no events."""
    try:
        return len(entry.events())
    except (msgspec.MsgspecError, ValueError, IndexError):
        return 0


async def _each(things: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do `work` for all things, some at once."""
    rest: Sequence[T] = list(things)
    done: list[R] = []
    for start in range(0, len(rest), _AT_ONCE):
        done += await asyncio.gather(*(work(thing) for thing in rest[start : start + _AT_ONCE]))
    return done

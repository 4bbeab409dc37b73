"""The equations of conservation, from figures of the ledger and the shards that were read while both may move.

The figures of a partition come in this order: a status `before`, the ledger's row, the stream, a status `after`. Each
equation compares only what must agree in that order: what the ledger has, the shard had `before` or has `after`.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from hotsku.domain.conservation import Equation, at_most, equal


class Memory(Struct, frozen=True, kw_only=True):
    """A partition as its shard has it, read at one instant; `incarnation` 0: the shard does not have it.

    `armed_incarnation` and `armed_seq` are None where its fence is not armed.
    """

    incarnation: int = 0
    seq: int = 0
    armed_incarnation: int | None = None
    armed_seq: int | None = None
    stream_seq: int = 0
    left_a: int = 0
    left_b: int = 0
    installed: int = 0
    taken: int = 0
    returned: int = 0
    lease_no: int = 0
    trimmed: int = 0
    orders: int = 0


class Rows(Struct, frozen=True, kw_only=True):
    """Rows counted in the ledger: how many, their units, the highest number (of a lease) or seq."""

    count: int = 0
    quantity: int = 0
    last: int = 0


class Booked(Struct, frozen=True, kw_only=True):
    """One (partition, incarnation) as the ledger has it: its row, and what its leases and events add up to.

    `rebooked` units are in `returns`, though the shard took them: their orders had been sold under another seq.
    `parked` events moved the figures, but have no row.
    """

    partition: int
    incarnation: int
    state: str
    lease_no: int
    granted: int
    applied: int
    returned: int
    watermark: int
    leases: Rows
    deductions: Rows
    returns: Rows
    rebooked: int = 0
    parked: int = 0

    @property
    def preallocated(self) -> int:
        return self.granted - self.applied - self.returned


class Bought(Struct, frozen=True):
    """What a partition's buyers have by its shard's count: units in all, and the most that one has."""

    units: int
    most: int


class Live(Struct, frozen=True, kw_only=True):
    """A partition in its latest incarnation, on both sides.

    Attributes:
        on_the_way: units of the ledger's leases that the shard had not installed `before`.
        stream: (first, last) seq of every entry after the ledger's watermark, up to the seq of `before`.
        earlier_details: deductions of earlier incarnations, whose orders the shard has too.
        fence: state in the ledger, incarnation there, and the shard's status read after them, where a fence was looked
            at again; None: as `booked` and `after` say.
        bought: the buyers' counts, read where the partition stood still.
    """

    booked: Booked
    before: Memory
    after: Memory
    on_the_way: int = 0
    stream: list[tuple[int, int]] = []
    earlier_details: int = 0
    fence: tuple[str, int, Memory] | None = None
    bought: Bought | None = None

    @property
    def same_incarnation(self) -> bool:
        return self.before.incarnation == self.booked.incarnation == self.after.incarnation

    @property
    def unbegun(self) -> bool:
        """It was never leased to, and its shard does not have it yet."""
        return self.booked.state == "new" and self.after.incarnation == 0

    @property
    def at_rest(self) -> bool:
        """It stood still, and the ledger has all of its events."""
        if self.unbegun:
            return True
        return self.same_incarnation and self.before == self.after and self.after.seq == self.booked.watermark


class ItemEvidence(Struct, frozen=True, kw_only=True):
    """One item: its row in the ledger, all its (partition, incarnation) rows, and the latest ones on both sides."""

    sku: str
    total: int
    pool: int
    booked: list[Booked]
    live: list[Live]
    limit_per_buyer: int | None = None

    @property
    def at_rest(self) -> bool:
        return all(live.at_rest for live in self.live)


class LedgerWide(Struct, frozen=True, kw_only=True):
    """Rows that should not be, counted over all that the audit is about."""

    strays: int
    doubled: int
    unknown_states: int
    over_limit: int
    parked: int


def item_equations(item: ItemEvidence) -> Iterator[Equation]:
    """Every equation of one item and its partitions."""
    for equation in _item(item):
        yield replace(equation, item=item.sku)
    for booked in item.booked:
        yield from _placed(item, booked, _books(booked))
    for live in item.live:
        yield from _placed(item, live.booked, _live(live, item.limit_per_buyer))


def ledger_equations(wide: LedgerWide) -> Iterator[Equation]:
    """What concerns no single item."""
    yield equal("I4", "no lease or event of an unknown partition", {"strays": wide.strays}, {})
    yield equal("I4", "no order has more than one row", {"doubled orders": wide.doubled}, {})
    yield equal("I5", "every order and step is of a known kind", {"unknown states": wide.unknown_states}, {})
    yield equal("limit", "no buyer is above the limit, as the ledger has it", {"buyers above": wide.over_limit}, {})
    yield equal("parked", "nothing waits for a person to resolve it", {"parked": wide.parked}, {})


def _placed(item: ItemEvidence, booked: Booked, equations: Iterable[Equation]) -> Iterator[Equation]:
    for equation in equations:
        yield replace(equation, item=item.sku, partition=booked.partition, incarnation=booked.incarnation)


def _item(item: ItemEvidence) -> Iterator[Equation]:
    preallocated = sum(booked.preallocated for booked in item.booked)
    sold = {"sold": sum(booked.applied for booked in item.booked)}
    total = {"total": item.total}
    yield at_most("I1", "the pool is not negative", {}, {"pool": item.pool})
    yield equal(
        "I2",
        "every unit is in the pool, pre-allocated or sold",
        total,
        {"pool": item.pool, "pre-allocated": preallocated, **sold},
    )
    yield at_most("I3", "not more is sold than there was", sold, total)
    yield at_most("I3", "what is sold is not negative", {}, sold)


def _books(booked: Booked) -> Iterator[Equation]:
    """What must agree within the ledger, at every commit."""
    leases, details, steps = booked.leases, booked.deductions, booked.returns
    granted, applied, returned = {"granted": booked.granted}, {"applied": booked.applied}, {"returned": booked.returned}
    watermark = {"watermark": booked.watermark}
    yield at_most("I1", "what is pre-allocated is not negative", {}, {"pre-allocated": booked.preallocated})
    yield equal("leases", "the leases add up to what was granted", {"leased": leases.quantity}, granted)
    yield equal("leases", "every lease has its row", {"leases": leases.count}, {"lease no": booked.lease_no})
    yield equal("leases", "the leases are numbered", {"last lease": leases.last}, {"lease no": booked.lease_no})
    rows = {"details": details.count, "steps": steps.count, "parked": booked.parked}
    yield equal("I4", "every event up to the watermark has one row", rows, watermark)
    yield at_most("I4", "no event is after the watermark", {"last seq": max(details.last, steps.last)}, watermark)
    # A parked event moved one of the two figures, and only its detail tells which.
    compare = at_most if booked.parked else equal
    yield compare("I4", "the details add up to what was applied", {"in details": details.quantity}, applied)
    yield compare("I4", "the steps add up to what was returned", {"in steps": steps.quantity}, returned)


def _live(live: Live, limit: int | None) -> Iterator[Equation]:
    if live.unbegun:
        yield equal("I11", "what never began has nothing", {"pre-allocated": live.booked.preallocated}, {})
        return
    yield from _fence(live)
    if live.after.incarnation:
        for before, after in zip(_memory(live.before), _memory(live.after), strict=False):
            yield after if before.holds else before
    if live.same_incarnation:
        yield from _both_sides(live)
        yield from _stream(live)
    if live.same_incarnation and live.at_rest:
        yield from _rest(live)
    if live.bought is not None:
        yield from _bought(live.bought, live.after, limit)


def _memory(memory: Memory) -> Iterator[Equation]:
    """What must agree within one status of the shard."""
    seq = {"seq": memory.seq}
    parts = {"bucket A": memory.left_a, "bucket B": memory.left_b, "taken": memory.taken, "returned": memory.returned}
    yield equal("I6", "the buckets and what left them are what was installed", parts, {"installed": memory.installed})
    yield at_most("I6", "no bucket or counter is negative", {}, {"least": min(parts.values())})
    yield equal("I7", "the stream ends at the partition's seq", {"stream's last seq": memory.stream_seq}, seq)
    # Unarmed: I8 says so.
    volatile = memory.seq if memory.armed_seq is None else memory.armed_seq
    yield equal("I7", "the volatile seq is the partition's seq", {"volatile seq": volatile}, seq)


def _fence(live: Live) -> Iterator[Equation]:
    state, incarnation, memory = live.fence or (live.booked.state, live.booked.incarnation, live.after)
    stored = {"stored incarnation": memory.incarnation}
    armed = {"armed incarnation": memory.armed_incarnation or 0}
    yield equal("I8", "the incarnation is armed", stored, armed)
    open_one = {"the ledger's open incarnation": 0 if state == "fenced" else incarnation}
    yield equal("I8", "the shard has the ledger's incarnation, and it is open", stored, open_one)


def _both_sides(live: Live) -> Iterator[Equation]:
    """The ledger is between the two statuses of the shard."""
    booked, before, after = live.booked, live.before, live.after
    watermark, granted = {"watermark": booked.watermark}, {"granted": booked.granted}
    yield at_most("I9", "only what the ledger has is trimmed", {"trimmed": before.trimmed}, watermark)
    yield at_most("I9", "the ledger is not ahead of the shard", watermark, {"seq": after.seq})
    applied = {"applied": booked.applied, "rebooked": booked.rebooked}
    yield at_most("I9", "no more is applied than was taken", applied, {"taken": after.taken})
    given_back = {"given back": after.returned, "rebooked": booked.rebooked}
    yield at_most("I9", "no more is returned than was given back", {"returned": booked.returned}, given_back)
    installed = {"installed": before.installed, "on the way": live.on_the_way}
    yield equal("leases", "what is granted is installed or on its way", installed, granted)
    no = {"installed lease no": before.lease_no}
    yield at_most("leases", "no lease is installed that was not made", no, {"lease no": booked.lease_no})
    details = {"details": booked.deductions.count, "earlier details": live.earlier_details}
    yield at_most("I10", "every order in the ledger has its record on the shard", details, {"orders": after.orders})


def _stream(live: Live) -> Iterator[Equation]:
    """What the ledger did not have is in the stream, unless it reached the ledger meanwhile and was trimmed."""
    low, high = max(live.booked.watermark, live.after.trimmed), live.before.seq
    if high <= low:
        return
    found = sum(max(0, min(last, high) - max(first - 1, low)) for first, last in live.stream)
    yield equal(
        "I10",
        "every event that the ledger does not have is in the stream",
        {"events in the stream": found, "events in the ledger": low},
        {"seq": high},
    )


def _rest(live: Live) -> Iterator[Equation]:
    booked, memory = live.booked, live.after
    left = {"bucket A": memory.left_a, "bucket B": memory.left_b, "on the way": live.on_the_way}
    yield equal("I11", "what is pre-allocated is in the buckets", {"pre-allocated": booked.preallocated}, left)
    details = {"details": booked.deductions.count, "earlier details": live.earlier_details}
    if booked.parked:
        yield at_most("I11", "the ledger has no other orders than the shard", details, {"orders": memory.orders})
        return
    applied = {"applied": booked.applied, "rebooked": booked.rebooked}
    yield equal("I11", "what was taken is applied", {"taken": memory.taken}, applied)
    given_back = {"given back": memory.returned, "rebooked": booked.rebooked}
    yield equal("I11", "what was given back is returned", given_back, {"returned": booked.returned})
    yield equal("I11", "the ledger has every order of the shard", {"orders": memory.orders}, details)


def _bought(bought: Bought, memory: Memory, limit: int | None) -> Iterator[Equation]:
    if limit is None:
        return
    yield at_most("limit", "no buyer is above the limit on the shard", {"most": bought.most}, {"limit": limit})
    yield equal("limit", "the buyers have what was taken", {"bought": bought.units}, {"taken": memory.taken})

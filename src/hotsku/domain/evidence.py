"""The figures that an audit compares, of the ledger and the shards, read while both may move.

A partition's figures are read in this order: a status `before`, the ledger's rows, the stream, a status `after`.
"""

from msgspec import Struct


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
    holds: int = 0


class Rows(Struct, frozen=True, kw_only=True):
    """Rows counted in the ledger: how many, their units, the highest number (of a lease) or seq."""

    count: int = 0
    quantity: int = 0
    last: int = 0


class OrderRows(Struct, frozen=True, kw_only=True):
    """The states of orders, by the (partition, incarnation) of their births.

    Attributes:
        ended: orders that were released or expired, and their units.
        holds: orders of the state held.
        on_hold: units in all orders of the state held.
        refunded: units that were refunded.
        limited: units that count against their buyers' limit.
    """

    ended: int = 0
    ended_units: int = 0
    holds: int = 0
    on_hold: int = 0
    refunded: int = 0
    limited: int = 0


class StepUnits(Struct, frozen=True, kw_only=True):
    """Units in steps, by the (partition, incarnation) that took them.

    Attributes:
        returned: given back unsold; `rebooked` among them are those that the shard took: their orders had been sold
            under another seq.
        reborn: in births of orders that have ended and begun anew.
        ended: released or expired.
        refunded: refunded.
    """

    returned: int = 0
    rebooked: int = 0
    reborn: int = 0
    ended: int = 0
    refunded: int = 0


class Booked(Struct, frozen=True, kw_only=True):
    """One (partition, incarnation) as the ledger has it: its row, and what its leases and events add up to.

    `held` is what its events did to the units on hold. `parked` events have no row; births among them moved the
    figures. A closed one has its `final_seq`; what it had left was given back by a step behind it, or is quarantined
    until `quarantined_until_ms`.
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
    steps: Rows
    held: int = 0
    orders: OrderRows = OrderRows()
    in_steps: StepUnits = StepUnits()
    parked: int = 0
    final_seq: int | None = None
    quarantined_until_ms: int | None = None

    @property
    def preallocated(self) -> int:
        return self.granted - self.applied - self.returned

    @property
    def quarantined(self) -> int:
        held = self.state == "closed" and self.quarantined_until_ms is not None
        return self.preallocated if held else 0

    @property
    def last_step(self) -> int:
        """1 where the last row is the step that gave back what a closed incarnation had left."""
        return int(self.final_seq is not None and self.steps.last == self.final_seq + 1)


class Bought(Struct, frozen=True):
    """What a partition's buyers have by its shard's count: units in all, and the most that one has."""

    units: int
    most: int


class Live(Struct, frozen=True, kw_only=True):
    """A partition in its latest incarnation, on both sides.

    Attributes:
        on_the_way: the ledger's leases that the shard had not installed `before`.
        stream: (first, last) seq of every entry after the ledger's watermark, up to the seq of `before`.
        earlier: its earlier incarnations, whose orders the shard has too.
        fence: state in the ledger, incarnation there, and the shard's status read after them, where a fence was looked
            at again; None: as `booked` and `after` say.
        bought: the buyers' counts, read where the partition stood still.
    """

    booked: Booked
    before: Memory
    after: Memory
    on_the_way: Rows = Rows()
    stream: list[tuple[int, int]] = []
    earlier: list[Booked] = []
    fence: tuple[str, int, Memory] | None = None
    bought: Bought | None = None

    @property
    def same_incarnation(self) -> bool:
        return self.before.incarnation == self.booked.incarnation == self.after.incarnation

    @property
    def orders(self) -> int:
        """The ledger's orders of the partition."""
        return sum(each.deductions.count for each in (self.booked, *self.earlier))

    @property
    def unended(self) -> int:
        """Those of them that are not released or expired: the shard keeps their records."""
        return self.orders - sum(each.orders.ended for each in (self.booked, *self.earlier))

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
    given_back: int = 0
    limit_per_buyer: int | None = None

    @property
    def at_rest(self) -> bool:
        return all(live.at_rest for live in self.live) and not any(booked.quarantined for booked in self.booked)


class LedgerWide(Struct, frozen=True, kw_only=True):
    """Rows that should not be, counted over all that the audit is about."""

    strays: int
    doubled: int
    unknown_states: int
    over_limit: int
    parked: int

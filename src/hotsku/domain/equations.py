"""The equations of conservation, over figures that were read while everything may move.

Each equation compares only what must agree in the order of reading (see `hotsku.domain.evidence`): what the ledger has,
the shard had `before` or has `after`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hotsku.domain.conservation import Equation, at_most, equal
from hotsku.domain.evidence import Booked, Bought, ItemEvidence, LedgerWide, Live, Memory


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


def fence_holds(live: Live) -> bool:
    """I8 of one partition. Where it does not hold, the ledger may have moved on meanwhile: look again."""
    return live.unbegun or all(equation.holds for equation in _fence(live))


def _placed(item: ItemEvidence, booked: Booked, equations: Iterable[Equation]) -> Iterator[Equation]:
    for equation in equations:
        yield replace(equation, item=item.sku, partition=booked.partition, incarnation=booked.incarnation)


def _item(item: ItemEvidence) -> Iterator[Equation]:
    held = {"held": sum(booked.held for booked in item.booked)}
    sold = {"sold": sum(booked.applied - booked.held for booked in item.booked) - item.given_back}
    preallocated = {"pre-allocated": sum(booked.preallocated for booked in item.booked)}
    pool, total = {"pool": item.pool}, {"total": item.total}
    yield at_most("I1", "the pool is not negative", {}, pool)
    yield equal(
        "I2", "every unit is in the pool, pre-allocated, held or sold", total, {**pool, **preallocated, **held, **sold}
    )
    yield at_most("I3", "not more is held and sold than there was", {**held, **sold}, total)
    yield at_most("I3", "what is held is not negative", {}, held)
    yield at_most("I3", "what is sold is not negative", {}, sold)
    yield from _lives(item)


def _lives(item: ItemEvidence) -> Iterator[Equation]:
    """The orders are in the states that their steps led to. Steps that were parked have led to none."""
    orders, steps = [each.orders for each in item.booked], [each.in_steps for each in item.booked]
    ended = {"released or expired": sum(each.ended for each in steps)}
    refunded = {"refunded": sum(each.refunded for each in steps)}
    yield equal(
        "I4", "what orders gave back is what their steps say", {"given back": item.given_back}, {**ended, **refunded}
    )
    rows = {"ended orders": sum(each.ended_units for each in orders), "begun anew": sum(each.reborn for each in steps)}
    yield equal("I5", "every order that ended has its step", rows, ended)
    in_orders = {"refunded of orders": sum(each.refunded for each in orders)}
    yield equal("I5", "every refund is a step", in_orders, refunded)
    held: dict[int, list[Booked]] = defaultdict(list)
    for booked in item.booked:
        held[booked.partition].append(booked)
    for partition, rows_of in held.items():
        on_hold = {"on hold": sum(each.orders.on_hold for each in rows_of)}
        figures = {"held": sum(each.held for each in rows_of)}
        yield replace(equal("I5", "what is held is on hold", on_hold, figures), partition=partition)


def _books(booked: Booked) -> Iterator[Equation]:
    """What must agree within the ledger, at every commit."""
    leases, details, steps = booked.leases, booked.deductions, booked.steps
    granted, applied, returned = {"granted": booked.granted}, {"applied": booked.applied}, {"returned": booked.returned}
    watermark = {"watermark": booked.watermark}
    yield at_most("I1", "what is pre-allocated is not negative", {}, {"pre-allocated": booked.preallocated})
    yield equal("leases", "the leases add up to what was granted", {"leased": leases.quantity}, granted)
    yield equal("leases", "every lease has its row", {"leases": leases.count}, {"lease no": booked.lease_no})
    yield equal("leases", "the leases are numbered", {"last lease": leases.last}, {"lease no": booked.lease_no})
    rows = {"details": details.count, "steps": steps.count, "parked": booked.parked}
    watermark |= {"last step": booked.last_step} if booked.last_step else {}
    yield equal("I4", "every event up to the watermark has one row", rows, watermark)
    # A parked event has no row, and only its detail tells which of the figures it moved.
    compare = at_most if booked.parked else equal
    yield compare("I4", "the last event is at the watermark", {"last seq": max(details.last, steps.last)}, watermark)
    births = {"in details": details.quantity, "begun anew": booked.in_steps.reborn}
    yield compare("I4", "the details add up to what was applied", births, applied)
    yield compare("I4", "the steps add up to what was returned", {"in steps": booked.in_steps.returned}, returned)
    if booked.state == "closed":
        final = {"final seq": booked.final_seq or 0}
        yield equal("I9", "a closed incarnation is applied to its end", {"watermark": booked.watermark}, final)
        left, held = {"pre-allocated": booked.preallocated}, {"quarantined": booked.quarantined}
        yield equal("I11", "what a closed incarnation has left is quarantined", left, held)


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
        yield from _bought(live.bought, live, limit)


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
    known = {"the ledger's incarnation": incarnation}
    yield equal("I8", "the shard has the ledger's incarnation", stored, known)
    sells = {"open incarnation": incarnation if state in ("new", "open") else 0}
    yield equal("I8", "the ledger's incarnation is open", known, sells)


def _both_sides(live: Live) -> Iterator[Equation]:
    """The ledger is between the two statuses of the shard."""
    booked, before, after = live.booked, live.before, live.after
    watermark, granted = {"watermark": booked.watermark}, {"granted": booked.granted}
    yield at_most("I9", "only what the ledger has is trimmed", {"trimmed": before.trimmed}, watermark)
    yield at_most("I9", "the ledger is not ahead of the shard", watermark, {"seq": after.seq})
    rebooked = {"rebooked": booked.in_steps.rebooked}
    applied = {"applied": booked.applied, **rebooked}
    yield at_most("I9", "no more is applied than was taken", applied, {"taken": after.taken})
    given_back = {"given back": after.returned, **rebooked}
    yield at_most("I9", "no more is returned than was given back", {"returned": booked.returned}, given_back)
    installed = {"installed": before.installed, "on the way": live.on_the_way.quantity}
    yield equal("leases", "what is granted is installed or on its way", installed, granted)
    no = {"installed lease no": before.lease_no, "on the way": live.on_the_way.count}
    yield equal("leases", "every lease is installed or on its way", no, {"lease no": booked.lease_no})
    # A record leaves the shard only when its order's end is trimmed, which is one event behind the ledger's at least.
    unended = {"orders that have not ended": live.unended}
    records = {"records": after.orders, "trimmed meanwhile": max(0, after.trimmed - booked.watermark)}
    yield at_most("I10", "the ledger has no more orders than the shard has records", unended, records)


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
    left = {"bucket A": memory.left_a, "bucket B": memory.left_b, "on the way": live.on_the_way.quantity}
    yield equal("I11", "what is pre-allocated is in the buckets", {"pre-allocated": booked.preallocated}, left)
    records = {"records": memory.orders}
    # A parked event has no row, and only its detail tells what it was about.
    if any(each.parked for each in (booked, *live.earlier)):
        return
    rebooked = {"rebooked": booked.in_steps.rebooked}
    yield equal("I11", "what was taken is applied", {"taken": memory.taken}, {"applied": booked.applied, **rebooked})
    given_back = {"given back": memory.returned, **rebooked}
    yield equal("I11", "what was given back is returned", given_back, {"returned": booked.returned})
    yield at_most("I11", "the shard has no more records than the ledger has orders", records, {"orders": live.orders})
    holds = {"orders on hold": sum(each.orders.holds for each in (booked, *live.earlier))}
    yield equal("I11", "the shard has the holds of the ledger", {"holds": memory.holds}, holds)


def _bought(bought: Bought, live: Live, limit: int | None) -> Iterator[Equation]:
    if limit is None:
        return
    yield at_most("limit", "no buyer is above the limit on the shard", {"most": bought.most}, {"limit": limit})
    details = {
        "in details": live.booked.orders.limited,
        "in earlier details": sum(each.orders.limited for each in live.earlier),
        "rebooked": live.booked.in_steps.rebooked,
    }
    if not live.booked.parked:
        yield equal("limit", "the buyers have what the details say", {"bought": bought.units}, details)

"""The equations: they hold for every consistent reading, and no single wrong figure passes."""

from collections import Counter
from collections.abc import Callable
from io import StringIO

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from hotsku.cli.audit_table import print_audit
from hotsku.domain.conservation import AuditReport, Equation, Findings, equal
from hotsku.domain.equations import item_equations, ledger_equations
from hotsku.domain.evidence import Booked, Bought, ItemEvidence, LedgerWide, Live, Memory, OrderRows, Rows, StepUnits

SOUND = LedgerWide(strays=0, doubled=0, unknown_states=0, over_limit=0, parked=0)
LIMIT = 5
TOTAL = 10**6

# What happens to a partition: +q leases q units (installed at once), 0 takes 1 unit, -q gives q units back; "hold" has
# 2 units held, and the others step on an order that is in the state for it: "refund" refunds 1 of 2 units, "again"
# begins an order anew that was released and whose record has left the shard.
Life = list[int | str]
STEPS = ("hold", "confirm", "release", "refund", "again")


def sensible(life: Life) -> Life:
    """Without the steps that no order is there for."""
    state, kept = Counter[str](), []
    needs = {"confirm": "hold", "release": "hold", "refund": "confirm", "again": "release"}
    for what in life:
        if not isinstance(what, str) or what == "hold" or state[needs[what]]:
            kept.append(what)
            if isinstance(what, str):
                state[needs.get(what, "")] -= 1
                state["hold" if what == "again" else what] += 1
    return kept


_wholes = st.lists(st.one_of(st.integers(-3, 9), st.sampled_from(STEPS)), min_size=1, max_size=30)
lives = _wholes.map(lambda life: sensible([200, *life, 0, -1, 5, "hold", "hold", "confirm", "release", "refund"]))


def numbers(life: Life) -> list[int]:
    return [what for what in life if not isinstance(what, str)]


def events(life: Life) -> Life:
    return [what for what in life if isinstance(what, str) or what <= 0]


def memory(life: Life, trimmed: int = 0) -> Memory:
    """The shard after so much of a life. No record has left it, but those of the orders that began anew."""
    quantities, n = numbers(life), Counter(life)
    installed, taken = sum(q for q in quantities if q > 0), n[0] + 2 * n["hold"] + 2 * n["again"]
    returned, seq = -sum(q for q in quantities if q < 0), len(events(life))
    left = installed - taken - returned
    return Memory(
        incarnation=1,
        armed_incarnation=1,
        seq=seq,
        armed_seq=seq,
        stream_seq=seq,
        left_a=left // 2,
        left_b=left - left // 2,
        installed=installed,
        taken=taken,
        returned=returned,
        lease_no=sum(q > 0 for q in quantities),
        trimmed=trimmed,
        orders=n[0] + n["hold"],
        holds=n["hold"] + n["again"] - n["confirm"] - n["release"],
    )


def booked(life: Life, watermark: int) -> Booked:
    """The ledger, with the leases of a life and its first events."""
    applied = events(life)[:watermark]
    leases = [q for q in numbers(life) if q > 0]
    n, returned = Counter(applied), -sum(numbers(applied))
    births = [seq for seq, what in enumerate(applied, 1) if what in (0, "hold", "again")]
    # An order that begins anew has its row under its new seq; its first birth is a step then. Which of the holds it was
    # does not matter here.
    reborn = [seq for seq, what in enumerate(applied, 1) if what == "hold"][: n["again"]]
    rows = sorted(set(births) - set(reborn))
    steps = sorted(set(range(1, len(applied) + 1)) - set(rows))
    ended, holds = n["release"] - n["again"], n["hold"] + n["again"] - n["confirm"] - n["release"]
    units = n[0] + 2 * n["hold"]
    return Booked(
        partition=0,
        incarnation=1,
        state="open",
        lease_no=len(leases),
        granted=sum(leases),
        applied=units + 2 * n["again"],
        returned=returned,
        watermark=watermark,
        held=2 * holds,
        leases=Rows(count=len(leases), quantity=sum(leases), last=len(leases)),
        deductions=Rows(count=len(rows), quantity=units, last=max(rows, default=0)),
        steps=Rows(count=len(steps), quantity=len(steps), last=max(steps, default=0)),
        orders=OrderRows(
            ended=ended,
            ended_units=2 * ended,
            holds=holds,
            on_hold=2 * holds,
            refunded=n["refund"],
            limited=units - 2 * ended,
        ),
        in_steps=StepUnits(returned=returned, reborn=2 * n["again"], ended=2 * n["release"], refunded=n["refund"]),
    )


def given_back(*rows: Booked) -> int:
    return sum(row.in_steps.ended + row.in_steps.refunded for row in rows)


def item(live: Live) -> ItemEvidence:
    back = given_back(live.booked)
    pool = TOTAL - live.booked.granted + live.booked.returned + back
    return ItemEvidence(
        sku="s",
        total=TOTAL,
        pool=pool,
        given_back=back,
        limit_per_buyer=LIMIT,
        booked=[live.booked],
        live=[live],
    )


def at_rest(life: Life) -> Live:
    status = memory(life)
    status = replace(status, trimmed=status.seq)
    row = booked(life, status.seq)
    return Live(booked=row, before=status, after=status, bought=Bought(row.orders.limited, 1))


@st.composite
def moving(draw: st.DrawFn) -> Live:
    """A reading of a partition that sells, is leased to, applied and trimmed meanwhile."""
    life = draw(lives)
    first = draw(st.integers(1, len(life)))
    leased = draw(st.integers(first, len(life)))
    before, end = memory(life[:first]), memory(life)
    watermark = draw(st.integers(0, memory(life[:leased]).seq))
    trimmed = draw(st.integers(watermark, end.seq))
    coming = [q for q in numbers(life[first:leased]) if q > 0]
    gone = draw(st.integers(watermark, trimmed))  # by the time that the stream was read
    return Live(
        booked=booked(life[:leased], watermark),
        before=replace(before, trimmed=draw(st.integers(0, min(watermark, before.seq)))),
        after=replace(end, trimmed=trimmed),
        on_the_way=Rows(count=len(coming), quantity=sum(coming)),
        stream=[(seq, seq) for seq in range(gone + 1, before.seq + 1)],
    )


def failing(evidence: ItemEvidence) -> set[str]:
    return {equation.name for equation in item_equations(evidence) if not equation.holds}


@given(moving())
def test_every_reading_of_a_moving_partition_holds(live: Live) -> None:
    assert failing(item(live)) == set()


@given(lives)
def test_every_reading_at_rest_holds(life: Life) -> None:
    evidence = item(at_rest(life))
    assert evidence.at_rest
    assert failing(evidence) == set()


@given(moving(), st.data())
def test_no_event_can_leave_the_stream_before_the_ledger_has_it(live: Live, data: st.DataObject) -> None:
    missing = [run for run in live.stream if run[0] > max(live.after.trimmed, live.booked.watermark)]
    if missing:
        lost = data.draw(st.sampled_from(missing))
        assert failing(item(replace(live, stream=[run for run in live.stream if run != lost]))) == {"I10"}


MEMORY = [name for name in Memory.__struct_fields__ if name != "trimmed"]
BOOKED = ["lease_no", "granted", "applied", "returned", "watermark", "held", "parked"]
ROWS = [
    *((rows, name) for rows in ("leases", "deductions") for name in ("count", "quantity")),
    ("steps", "count"),
    # How many have ended is no figure of the shard: it only bounds how many records may have left. Their units are.
    *(("orders", name) for name in OrderRows.__struct_fields__ if name != "ended"),
    *(("in_steps", name) for name in StepUnits.__struct_fields__),
]

amounts = st.integers(-50, 50).filter(bool)


@pytest.mark.parametrize("name", MEMORY)
@given(lives, amounts)
def test_no_wrong_figure_of_the_shard_passes(name: str, life: Life, by: int) -> None:
    live = at_rest(life)
    # The records of so many orders may have left the shard.
    assume(name != "orders" or not -live.booked.orders.ended <= by < 0)
    wrong = replace(live.after, **{name: getattr(live.after, name) + by})
    assert failing(item(replace(live, before=wrong, after=wrong)))


@pytest.mark.parametrize("name", BOOKED)
@given(lives, amounts)
def test_no_wrong_figure_of_the_ledger_passes(name: str, life: Life, by: int) -> None:
    live = at_rest(life)
    wrong = replace(live.booked, **{name: getattr(live.booked, name) + by})
    assert failing(replace(item(live), booked=[wrong], live=[replace(live, booked=wrong)]))


@pytest.mark.parametrize(("rows", "name"), ROWS)
@given(lives, amounts)
def test_no_wrong_row_passes(rows: str, name: str, life: Life, by: int) -> None:
    live = at_rest(life)
    tally = getattr(live.booked, rows)
    wrong = replace(live.booked, **{rows: replace(tally, **{name: getattr(tally, name) + by})})
    assert failing(replace(item(live), booked=[wrong], live=[replace(live, booked=wrong)]))


@pytest.mark.parametrize("name", ["total", "pool", "given_back"])
@given(lives, amounts)
def test_no_wrong_figure_of_the_item_passes(name: str, life: Life, by: int) -> None:
    evidence = item(at_rest(life))
    assert "I2" in failing(replace(evidence, **{name: getattr(evidence, name) + by}))


CHANGES: list[tuple[Callable[[Live], Live], set[str]]] = [
    (lambda live: replace(live, booked=replace(live.booked, state="fenced")), {"I8"}),
    (lambda live: replace(live, after=replace(live.after, armed_incarnation=None, armed_seq=None)), {"I8"}),
    (lambda live: replace(live, after=Memory()), {"I8"}),
    (lambda live: replace(live, bought=Bought(live.after.taken, LIMIT + 1)), {"limit"}),
    (lambda live: replace(live, bought=Bought(live.after.taken + 1, 1)), {"limit"}),
    (lambda live: replace(live, on_the_way=Rows(count=1, quantity=1)), {"leases", "I11"}),
    (lambda live: replace(live, earlier=[booked([0], 1)]), {"I10", "limit"}),
    (lambda live: replace(live, earlier=[booked(["hold", "release"], 2)]), set()),
    (lambda live: replace(live, earlier=[booked(["hold"], 1)]), {"I10", "I11", "limit"}),
]


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_what_else_may_be_wrong_is_told(change: Callable[[Live], Live], told: set[str]) -> None:
    live = change(at_rest([100, 0, 0, -3]))
    assert failing(item(live)) == told


def closed(life: Life, *, quarantined: bool = False) -> Booked:
    """An incarnation that is over, applied to its end; what it had left was given back, or is quarantined."""
    row = booked(life, memory(life).seq)
    row = replace(row, state="closed", final_seq=row.watermark)
    if quarantined:
        return replace(row, quarantined_until_ms=1)
    returned = row.returned + row.preallocated
    steps = Rows(count=row.steps.count + 1, quantity=row.steps.quantity, last=row.watermark + 1)
    return replace(row, returned=returned, steps=steps, in_steps=replace(row.in_steps, returned=returned))


def followed(over: Booked) -> ItemEvidence:
    """One partition in its second incarnation, at rest, after one that is over."""
    live = at_rest([100, 0, -2])
    second = replace(live.booked, incarnation=2)
    orders, holds = live.after.orders + over.deductions.count, live.after.holds + over.orders.holds
    status = replace(live.after, incarnation=2, armed_incarnation=2, orders=orders, holds=holds)
    live = replace(live, booked=second, before=status, after=status, earlier=[over], bought=None)
    back = given_back(over, second)
    pool = TOTAL - over.granted + over.returned - second.granted + second.returned + back
    return ItemEvidence(sku="s", total=TOTAL, pool=pool, given_back=back, booked=[over, second], live=[live])


@pytest.mark.parametrize("quarantined", [False, True])
@given(lives)
def test_a_closed_incarnation_holds_with_its_last_step_or_its_quarantine(quarantined: bool, life: Life) -> None:
    evidence = followed(closed(life, quarantined=quarantined))
    assert failing(evidence) == set()
    assert evidence.at_rest is not quarantined


def test_an_incarnation_that_was_closed_with_nothing_left_has_no_last_step() -> None:
    row = booked([100, -97, 0, 0, 0], 4)
    assert failing(followed(replace(row, state="closed", final_seq=4))) == set()


@pytest.mark.parametrize("name", ["granted", "applied", "returned", "watermark", "final_seq"])
@given(lives, amounts, st.booleans())
def test_no_wrong_figure_of_a_closed_incarnation_passes(name: str, life: Life, by: int, quarantined: bool) -> None:
    evidence = followed(closed(life, quarantined=quarantined))
    over, second = evidence.booked
    wrong = replace(over, **{name: getattr(over, name) + by})
    assert failing(replace(evidence, booked=[wrong, second]))


def test_what_a_closed_incarnation_has_left_must_be_quarantined() -> None:
    held = closed([100, 0], quarantined=True)
    assert failing(followed(replace(held, quarantined_until_ms=None))) == {"I11"}


@pytest.mark.parametrize("state", ["fenced", "rebuilding", "closed"])
@pytest.mark.parametrize("lost", [False, True])
def test_only_an_open_incarnation_is_sound_whatever_its_shard_has(state: str, lost: bool) -> None:
    live = at_rest([100, 0])
    row = replace(live.booked, state=state, final_seq=live.booked.watermark if state == "closed" else None)
    after = Memory() if lost else live.after
    assert "I8" in failing(item(replace(live, booked=row, before=after, after=after)))


def test_a_fence_that_was_looked_at_again_counts_as_it_is_now() -> None:
    live = at_rest([100, 0])
    unarmed = replace(live.after, armed_incarnation=None, armed_seq=None)
    assert failing(item(replace(live, after=unarmed, fence=("open", 1, live.after)))) == set()
    assert failing(item(replace(live, fence=("open", 1, unarmed)))) == {"I8"}


def test_a_rebooked_order_was_taken_on_the_shard_and_returned_in_the_ledger() -> None:
    live = at_rest([100, 0, 0])
    row = replace(
        live.booked,
        applied=1,
        returned=1,
        deductions=Rows(count=1, quantity=1, last=1),
        steps=Rows(count=1, quantity=1, last=2),
        orders=OrderRows(limited=1),
        in_steps=StepUnits(returned=1, rebooked=1),
    )
    once = replace(live.after, orders=1)
    assert failing(item(replace(live, booked=row, before=once, after=once))) == set()


@pytest.mark.parametrize("name", LedgerWide.__struct_fields__)
def test_nothing_may_be_astray_in_the_ledger(name: str) -> None:
    assert all(equation.holds for equation in ledger_equations(SOUND))
    assert [e.holds for e in ledger_equations(replace(SOUND, **{name: 1}))].count(False) == 1


def report(items: int, wrong: int | None = None) -> AuditReport:
    """One of `items` items of two partitions; `wrong` names an item whose two partitions fail I6."""
    findings = Findings(items)
    for number in range(items):
        for partition in range(2):
            right = 3 if number == wrong else 2
            equation = equal("I6", "the buckets add up", {"left": 1, "taken": 1}, {"installed": right})
            findings.add([replace(equation, item=f"item-{number}", partition=partition, incarnation=1)])
    return findings.report(at_rest=True, partitions=2 * items)


def test_what_holds_is_summed_and_what_fails_is_told_in_full() -> None:
    one = report(3, wrong=1)
    assert not one.ok
    assert (one.checked, one.failed, one.items, one.partitions) == (6, 2, 3, 6)
    assert [(e.item, e.partition, e.count, e.sides, e.holds) for e in one.equations] == [
        ("item-0", None, 2, (4, 4), True),
        ("item-1", 0, 1, (2, 3), False),
        ("item-1", 1, 1, (2, 3), False),
        ("item-2", None, 2, (4, 4), True),
    ]
    assert one.problems == one.equations[1:3]
    assert str(one.problems[0]) == "I6 item-1 partition 0: 1 left + 1 taken = 3 installed"


def test_of_many_items_what_holds_is_summed_over_all() -> None:
    many = report(1_000)
    assert [(e.item, e.count, e.left) for e in many.equations] == [(None, 2_000, {"left": 2_000, "taken": 2_000})]


def test_a_report_survives_json() -> None:
    one = report(3, wrong=1)
    assert msgspec.json.decode(msgspec.json.encode(one), type=AuditReport) == one


def printed(one: AuditReport) -> str:
    console = Console(file=StringIO(), width=160)
    print_audit(one, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_shows_both_sides_and_ends_with_the_verdict() -> None:
    lines = printed(report(3, wrong=1)).splitlines()
    assert lines[-1] == "audit: FAILED, 2 equations"
    assert sum("✗" in line and "1 left + 1 taken = 2" in line and "3 installed" in line for line in lines) == 2
    assert printed(report(1)).splitlines()[-1] == "audit: ok"


def test_an_audit_of_a_moving_sale_says_so() -> None:
    assert "not at rest" in printed(replace(report(1), at_rest=False))
    assert "not at rest" not in printed(report(1))


def test_hundreds_of_problems_are_not_all_printed() -> None:
    problem = replace(equal("I8", "armed", {"stored": 1}, {"armed": 0}), item="x")
    findings = Findings(1)
    findings.add([problem] * 300)
    text = printed(findings.report(at_rest=True, partitions=300))
    assert len(text.splitlines()) < 60
    assert "250 more" in text
    assert isinstance(problem, Equation)

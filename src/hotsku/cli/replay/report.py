"""What a replay comes to: by item, the answers beside the ledger's figures; and the same for people."""

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from hotsku.cli.replay.tally import INVALID, ItemTally, ReplayTally
from hotsku.cli.tables import bar, table
from hotsku.cli.times import clock_text

_MOST_ITEMS = 20
_MOST_INVALID = 5


class ItemResult(Struct, frozen=True, kw_only=True):
    """One item. `stock`, `sold` (from the ledger), `left` and `refused_units` are units, the rest orders."""

    stock: int
    sold: int
    left: int
    accepted: int
    rejected: int
    replayed: int
    refused_units: int
    sold_out_at: str | None


class ReplayResult(Struct, frozen=True, kw_only=True):
    """The replay's report; see `ReplayTally` for what is counted. `ok`: all is answered, and ledger and audit agree."""

    lines: int
    answered: int
    accepted: int
    rejected: int
    rejected_by: dict[str, int]
    replayed: int
    invalid: int
    invalid_lines: list[tuple[int, str]]
    ledger_agrees: bool
    audit_ok: bool
    problems: list[str]
    seconds: float
    lines_per_s: float
    interrupted: bool
    ok: bool
    items: dict[str, ItemResult]


class Stand(Struct, frozen=True):
    """An item as the ledger has it after the replay, and the units that it had sold before."""

    total: int
    sold: int
    sold_before: int


def result(
    tally: ReplayTally, stands: dict[str, Stand], *, problems: list[str], lag: int, seconds: float, interrupted: bool
) -> ReplayResult:
    """Put the report together.

    Args:
        stands: of every item of the log.
        problems: equations of the audit that failed, in words.
        lag: events that the ledger does not have.
        seconds: from the first line to the last answer.
    """
    agrees = lag == 0 and all(_agrees(stand, tally.items.get(sku, ItemTally())) for sku, stand in stands.items())
    everything = tally.answered == tally.lines and not interrupted
    return ReplayResult(
        lines=tally.lines,
        answered=tally.answered,
        accepted=tally.accepted,
        rejected=tally.rejected,
        rejected_by=dict(tally.rejected_by.most_common()),
        replayed=tally.replayed,
        invalid=tally.rejected_by[INVALID],
        invalid_lines=tally.invalid,
        ledger_agrees=agrees,
        audit_ok=not problems,
        problems=problems,
        seconds=round(seconds, 3),
        lines_per_s=round(tally.answered / seconds, 1) if seconds > 0 else 0.0,
        interrupted=interrupted,
        ok=everything and agrees and not problems,
        items={sku: _item_result(stands[sku], tally.items.get(sku, ItemTally())) for sku in sorted(stands)},
    )


def _agrees(stand: Stand, item: ItemTally) -> bool:
    """All that lines were told is in the ledger, which may have sold more: earlier, or elsewhere."""
    return item.accepted_units <= stand.sold <= stand.total and stand.sold_before <= stand.sold


def _item_result(stand: Stand, item: ItemTally) -> ItemResult:
    left = stand.total - stand.sold
    sold_out = left == 0 and item.last_sale_ms is not None
    return ItemResult(
        stock=stand.total,
        sold=stand.sold,
        left=left,
        accepted=item.accepted,
        rejected=item.rejected,
        replayed=item.replayed,
        refused_units=item.refused_units,
        sold_out_at=clock_text(item.last_sale_ms) if sold_out and item.last_sale_ms is not None else None,
    )


def show(console: Console, report: ReplayResult) -> None:
    """Write the summary by item, the worst first, and the totals."""
    made = table(
        "items, most turned away first",
        *("sku", "", "stock", "sold", "left", "orders", "turned away: orders", "units", "sold out at"),
        left=2,
    )
    worst = sorted(report.items.items(), key=lambda entry: (-entry[1].refused_units, -entry[1].rejected, entry[0]))
    for sku, item in worst[:_MOST_ITEMS]:
        made.add_row(sku, bar(item.sold, item.stock), *_figures(item), item.sold_out_at or "")
    if len(worst) > _MOST_ITEMS:
        made.add_row(f"and {len(worst) - _MOST_ITEMS:,} more", "", *_figures(_sum(worst[_MOST_ITEMS:])), "")
    made.add_section()
    total = _sum(worst)
    short = sum(1 for _, item in worst if item.refused_units)
    made.add_row(f"all {len(worst):,}", bar(total.sold, total.stock), *_figures(total), f"{short:,} items fell short")
    console.print(made)
    for number, why in report.invalid_lines[:_MOST_INVALID]:
        console.print(Text(f"line {number}: {why}"), soft_wrap=True)
    for problem in report.problems[:_MOST_INVALID]:
        console.print(Text(f"audit: {problem}", style="red"), soft_wrap=True)
    console.print(Text(sentence(report), style="bold green" if report.ok else "bold red"), soft_wrap=True)


def sentence(report: ReplayResult) -> str:
    """The last line."""
    counts = (
        f"{report.answered:,} of {report.lines:,} lines answered in {report.seconds:,.1f} s: "
        f"{report.accepted:,} orders accepted, {report.rejected:,} rejected ({report.invalid:,} of them invalid), "
        f"{report.replayed:,} repeated"
    )
    audit = "the audit holds" if report.audit_ok else "the audit FAILS"
    ledger = "the ledger agrees" if report.ledger_agrees else "the ledger does NOT agree"
    return f"{'interrupted: ' if report.interrupted else ''}{counts}; {ledger}, {audit}"


def _figures(item: ItemResult) -> tuple[str, ...]:
    figures = (item.stock, item.sold, item.left, item.accepted, item.rejected, item.refused_units)
    return tuple(f"{figure:,}" for figure in figures)


def _sum(items: list[tuple[str, ItemResult]]) -> ItemResult:
    results = [result for _, result in items]
    return ItemResult(
        stock=sum(each.stock for each in results),
        sold=sum(each.sold for each in results),
        left=sum(each.left for each in results),
        accepted=sum(each.accepted for each in results),
        rejected=sum(each.rejected for each in results),
        replayed=sum(each.replayed for each in results),
        refused_units=sum(each.refused_units for each in results),
        sold_out_at=None,
    )

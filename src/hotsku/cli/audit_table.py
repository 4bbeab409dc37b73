"""An audit as a person reads it: each equation with both of its sides, and one line at the end."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hotsku.domain.conservation import AuditReport, Equation, side_text

# After a shard's restart every partition may fail; the rest is in `--json`.
_MOST_PROBLEMS = 50

_RELATIONS = {"=": "=", "<=": "≤"}


def print_audit(report: AuditReport, console: Console) -> None:
    """Print the report: what holds, then what fails, then "audit: ok" or "audit: FAILED, n equations"."""
    holding = [equation for equation in report.equations if equation.holds]
    if holding:
        console.print(_table(holding, "green", "✓"))
    if report.problems:
        console.print(_table(report.problems[:_MOST_PROBLEMS], "red", "✗"))
    if report.failed > _MOST_PROBLEMS:
        console.print(f"and {report.failed - _MOST_PROBLEMS:,} more that fail; --json has all", style="red")
    console.print(_scope(report))
    if not report.at_rest:
        console.print("I11: not at rest; checked on the partitions that stood still", style="yellow")
    console.print(verdict(report), style="bold green" if report.ok else "bold red", highlight=False)


def verdict(report: AuditReport) -> str:
    """The audit in one line."""
    if report.ok:
        return "audit: ok"
    return f"audit: FAILED, {_counted(report.failed, 'equation')}"


def _table(equations: list[Equation], colour: str, mark: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", style=colour, no_wrap=True)
    table.add_column("equation", style=colour, no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("says")
    table.add_column("left", justify="right")
    table.add_column("", style=colour)
    table.add_column("right")
    for equation in equations:
        left, right = equation.sides
        table.add_row(
            mark,
            equation.name,
            escape(_where(equation)),
            equation.words,
            _side(equation.left, left),
            _RELATIONS[equation.relation],
            _side(equation.right, right),
        )
    return table


def _where(equation: Equation) -> str:
    place = "all" if equation.item is None else equation.item
    if equation.partition is not None:
        place += f", partition {equation.partition}"
        if equation.incarnation != 1:
            place += f", incarnation {equation.incarnation}"
    return f"{place} (sum of {equation.count:,})" if equation.count > 1 else place


def _side(terms: dict[str, int], total: int) -> str:
    text = side_text(terms)
    return f"{text} = {total:,}" if " + " in text else text


def _scope(report: AuditReport) -> str:
    items, partitions = _counted(report.items, "item"), _counted(report.partitions, "partition")
    return f"{items}, {partitions}, {_counted(report.checked, 'equation')} checked"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"

"""The demo's report for people: a table, and a chart of the stock."""

from rich.console import Console
from rich.text import Text

from hotsku.cli.demo.figures import Figures
from hotsku.cli.tables import table

_CHART_ROWS = 12
_MOST_COLUMNS = 100
_MOST_PROBLEMS = 10


def show(console: Console, figures: Figures, curve: list[tuple[float, int]]) -> None:
    """Write the chart, the table, the verdict."""
    if len(curve) > 1:
        # Not through rich: plotext has laid it out already.
        print(stock_chart(figures.stock, curve, min(_MOST_COLUMNS, console.width)))
    made = table("", "", "", left=1)
    made.show_header = False
    for name, value in rows(figures):
        made.add_row(name, value)
    console.print(made)
    for problem in figures.problems[:_MOST_PROBLEMS]:
        console.print(Text(f"audit: {problem}", style="red"), soft_wrap=True)
    console.print(Text(verdict(figures), style="bold green" if figures.exact else "bold red"))


def rows(f: Figures) -> list[tuple[str, str]]:
    """The table's rows: what, and how much."""
    rejected = [(f"  {reason.replace('_', ' ')}", f"{count:,}") for reason, count in f.rejected_by.items()]
    return [
        ("stock", f"{f.stock:,}"),
        ("buyers", f"{f.buyers:,}"),
        ("units accepted", f"{f.accepted:,}"),
        ("orders rejected", f"{f.rejected:,}"),
        *rejected,
        ("oversold", f"{f.oversold:,}"),
        ("unsold though wanted", f"{f.unsold:,}"),
        ("requests", f"{f.requests:,}"),
        ("of them sent twice on purpose", f"{f.duplicates:,}"),
        ("orders counted twice", f"{f.doubled:,}"),
        ("sold in the ledger", f"{f.ledger_sold:,}"),
        (
            "ledger has each accepted order",
            "yes" if f.ledger_agrees else f"NO: {f.missing:,} not, {f.unexpected:,} extra",
        ),
        ("audit", "every equation holds" if f.audit_ok else f"FAILS: {len(f.problems)} equations"),
        ("throughput", f"{f.deductions_per_s:,.0f} requests/s"),
        ("answered within", f"p50 {f.p50_ms:,.1f} ms, p99 {f.p99_ms:,.1f} ms"),
        ("time", f"{f.seconds:,.1f} s, and {f.settling_s:,.1f} s until the ledger had everything"),
        *([("sent again after a fault", f"{f.retries:,}")] if f.retries else []),
        *([("client processes restarted", f"{f.restarts:,}")] if f.restarts else []),
    ]


def verdict(f: Figures) -> str:
    """The last line."""
    if f.exact:
        return f"exact: {f.ledger_sold:,} of {f.stock:,} units sold, each exactly once"
    if f.interrupted:
        state = "what was sold is in the ledger" if f.ledger_agrees and f.audit_ok else "and the ledger does not agree"
        return f"interrupted after {f.requests:,} requests: {state}"
    return "NOT exact: see above, and `hotsku audit`"


def stock_chart(stock: int, curve: list[tuple[float, int]], columns: int) -> str:
    """Units left over the seconds in which they were sold."""
    import plotext  # only here: every command would pay for its 100 ms

    figure = plotext.figure
    figure.clear()
    figure.plot_size(columns, _CHART_ROWS)
    end_s = curve[-1][0] * 1.1
    seconds = [at_s for at_s, _ in curve] + [end_s]
    left = [stock - units for _, units in curve] + [stock - curve[-1][1]]
    figure.draw(figure.signal(seconds, left).lines())
    figure.title("stock left, by second")
    return str(figure.build().string(colorless=True)).rstrip()

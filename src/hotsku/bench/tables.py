"""The report as tables: for a terminal, and as Markdown for the documentation."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from hotsku.bench.report import Figure, Report, Row, Section

_FIGURES = ("", "value", "", "target", "met")
_CELLS: dict[str, Callable[[Row], str]] = {
    "accepted/s": lambda row: _whole(row.accepted_per_s),
    "rejected/s": lambda row: _whole(row.rejected_per_s),
    "replayed/s": lambda row: _whole(row.replayed_per_s),
    "p50 ms": lambda row: _small(row.p50_ms),
    "p99 ms": lambda row: _small(row.p99_ms),
    "orders/call": lambda row: _small(row.orders_a_call),
    "CPU s/million": lambda row: _small(row.cpu_per_million),
    "client CPU": lambda row: _small(row.client_per_million),
    "shard CPU": lambda row: _small(row.server_per_million),
    "replica CPU": lambda row: _small(row.replica_per_million),
}
_NUMBERS = frozenset(_CELLS) | {"value", "target"}


def show(console: Console, report: Report) -> None:
    """The whole report for a person."""
    for line in heading(report):
        console.print(line, highlight=False, markup=False)
    for section in report.sections:
        console.print()
        if section.rows:
            columns = _columns(section.rows)
            console.print(_table(section.title, columns, (_cells(row, columns) for row in section.rows)))
        console.print(_table("" if section.rows else section.title, _FIGURES, map(_figure_cells, section.figures)))
        for note in _notes(section):
            console.print(f"  {note}", highlight=False, markup=False)


def markdown(report: Report) -> str:
    """The same as Markdown, with the charts that lie beside it."""
    lines = [*(f"{line}  " for line in heading(report))]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        if section.rows:
            columns = _columns(section.rows)
            lines += _markdown_table(columns, (_cells(row, columns) for row in section.rows))
        lines += ["", *_markdown_table(_FIGURES, map(_figure_cells, section.figures)), ""]
        lines += [f"- {note}" for note in _notes(section)]
        lines += [f"\n![{chart.title}]({section.name}-{number}.svg)" for number, chart in enumerate(section.charts, 1)]
    return "\n".join(lines) + "\n"


def heading(report: Report) -> Iterator[str]:
    """Where and how it was measured."""
    m = report.machine
    how = "quick, " if report.quick else ""
    yield f"hotsku {report.hotsku}, commit {report.commit}, {report.at}"
    yield f"{m.cores} cores ({m.cpu}), {m.memory_gb:g} GiB, {m.system}, {m.python}, load before {m.load_before:g}"
    yield f"an fsync of 4 KiB takes {m.fsync_ms:g} ms; {', '.join(f'{k} {v}' for k, v in m.versions.items())}"
    yield f"{how}medians of {report.rounds} alternating rounds of {report.seconds_a_round:g} s"


def _table(title: str, columns: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Table:
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=number == 0)
    for row in rows:
        made.add_row(*row)
    return made


def _markdown_table(columns: Sequence[str], rows: Iterator[tuple[str, ...]]) -> list[str]:
    rule = ["---:" if column in _NUMBERS else "---" for column in columns]
    return [_line(columns), _line(rule), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _notes(section: Section) -> list[str]:
    return [*(f"{row.name}: {row.note}" for row in section.rows if row.note), *section.notes]


def _columns(rows: Sequence[Row]) -> list[str]:
    """The row's name, and the columns that some row has a value in."""
    return ["", *(name for name, cell in _CELLS.items() if any(cell(row) for row in rows))]


def _cells(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return row.name, *(_CELLS[name](row) for name in columns[1:])


def _figure_cells(figure: Figure) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "no"}[figure.met]
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    return figure.name, value, figure.unit, figure.target, met


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value else ""


def _small(value: float) -> str:
    return f"{value:,.2f}" if value else ""

"""The report as tables: for a terminal, and as Markdown for the documentation."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from hotsku.bench.report import Figure, Report, Row, Section

_COLUMNS = ("", "accepted/s", "rejected/s", "replayed/s", "p50 ms", "p99 ms", "CPU s/million")
_FIGURES = ("", "value", "", "target", "met")
_NUMBERS = frozenset(_COLUMNS[1:]) | {"value", "target"}


def show(console: Console, report: Report) -> None:
    """The whole report for a person."""
    for line in heading(report):
        console.print(line, highlight=False, markup=False)
    for section in report.sections:
        console.print()
        if section.rows:
            console.print(_table(section.title, _COLUMNS, map(_cells, section.rows)))
        console.print(_table("" if section.rows else section.title, _FIGURES, map(_figure_cells, section.figures)))
        for note in _notes(section):
            console.print(f"  {note}", highlight=False, markup=False)


def markdown(report: Report) -> str:
    """The same as Markdown, with the charts that lie beside it."""
    lines = [*(f"{line}  " for line in heading(report))]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        if section.rows:
            lines += _markdown_table(_COLUMNS, map(_cells, section.rows))
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


def _table(title: str, columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Table:
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=number == 0)
    for row in rows:
        made.add_row(*row)
    return made


def _markdown_table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    rule = ["---:" if column in _NUMBERS else "---" for column in columns]
    return [_line(columns), _line(rule), *map(_line, rows)]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _notes(section: Section) -> list[str]:
    return [*(f"{row.name}: {row.note}" for row in section.rows if row.note), *section.notes]


def _cells(row: Row) -> tuple[str, ...]:
    rates = (row.accepted_per_s, row.rejected_per_s, row.replayed_per_s)
    times = (row.p50_ms, row.p99_ms, row.cpu_per_million)
    return row.name, *(_whole(rate) for rate in rates), *(_small(value) for value in times)


def _figure_cells(figure: Figure) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "no"}[figure.met]
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
    return figure.name, value, figure.unit, figure.target, met


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value else ""


def _small(value: float) -> str:
    return f"{value:,.2f}" if value else ""

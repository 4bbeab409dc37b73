"""The report's charts as SVG, plain enough to be looked at on any page: no scripts, no fonts from elsewhere."""

import re
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from hotsku.bench.report import Chart, Report

_BAR_PX, _FRAME_PX, _WIDTH_PX = 26, 110, 900
_NOTHING = 0.05
_STYLE = CleanStyle(
    font_family="sans-serif", title_font_size=16, label_font_size=12, legend_font_size=12, value_font_size=11
)


def write_charts(report: Report, folder: Path) -> list[str]:
    """Write every chart of the report. Returns the files' names, `<section>-<number>.svg`."""
    names = []
    for section in report.sections:
        for number, chart in enumerate(section.charts, 1):
            name = f"{section.name}-{number}.svg"
            (folder / name).write_bytes(render(chart, name))
            names.append(name)
    return names


def render(chart: Chart, chart_id: str) -> bytes:
    """The chart as SVG.

    Args:
        chart_id: tells its styles from those of other charts on one page; the same each time, so that files compare.
    """
    bars = len(chart.labels) * max(1, len(chart.series))
    drawn = pygal.HorizontalBar(
        style=_STYLE,
        js=[],
        width=_WIDTH_PX,
        height=_FRAME_PX + _BAR_PX * max(4, bars),
        title=chart.title,
        logarithmic=chart.log,
        show_legend=len(chart.series) > 1,
        legend_at_bottom=True,
        print_values=True,
        print_values_position="top",
        value_formatter=_short,
        truncate_label=-1,
        disable_xml_declaration=True,
    )
    drawn.uuid = re.sub(r"[^a-z0-9-]", "-", chart_id)
    # Horizontal bars are drawn from the bottom up.
    drawn.x_labels = list(reversed(chart.labels))
    if chart.log:
        drawn.y_labels = [10**power for power in range(1, 7)]
    for name, values in chart.series.items():
        drawn.add(name, list(reversed(values)))
    text: str = drawn.render()  # text, where it has no XML declaration
    return text.encode()


def _short(value: float | None) -> str:
    if value is None or 0 < value < _NOTHING:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

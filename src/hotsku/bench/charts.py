"""The report's charts as SVG, plain enough to be looked at on any page: no scripts, nothing fetched from elsewhere."""

import re
import sys
from math import ceil, floor, log10
from pathlib import Path

import pygal
from pygal.style import CleanStyle

from hotsku.bench.report import Chart, Report

# It hooks itself into every later import of the process, for plug-ins that we do not use.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]

_BAR_PX, _FRAME_PX, _WIDTH_PX = 26, 110, 900
_NOTHING = 0.05
# Scripts, and comments that carry the day.
_LIVELY = re.compile(r"<!--.*?-->|<script.*?</script>", re.DOTALL)
_STYLE = CleanStyle(
    font_family="sans-serif", title_font_size=16, label_font_size=12, legend_font_size=12, value_font_size=11
)


def write_charts(report: Report, folder: Path) -> list[str]:
    """Write every chart of the report. Returns the files' names, `<section>-<number>.svg`."""
    names = []
    for section in report.sections:
        for number, chart in enumerate(section.charts, 1):
            name = f"{section.name}-{number}.svg"
            (folder / name).write_bytes(render(chart, name) + b"\n")
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
    if chart.log:
        _whole_decades(drawn, [value for values in chart.series.values() for value in values if value])
    # Horizontal bars are drawn from the bottom up.
    drawn.x_labels = list(reversed(chart.labels))
    for name, values in chart.series.items():
        drawn.add(name, list(reversed(values)))
    text: str = drawn.render()
    return _LIVELY.sub("", text).encode()


def _whole_decades(drawn: "pygal.HorizontalBar", values: list[float]) -> None:
    if values:
        least, most = floor(log10(min(values))), ceil(log10(max(values)))
        drawn.range = (10**least, 10**most)
        drawn.zero = 10**least
        drawn.y_labels = [10**power for power in range(least, most + 1)]


def _short(value: float | None) -> str:
    if value is None or 0 < value < _NOTHING:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

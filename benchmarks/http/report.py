"""What was measured, beside what is to be reached."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from msgspec import Struct

CONSTANT = "constant"
ROUTE = "route"
HELD = "route, ledger held"
TUTORIAL = "tutorial"
AT_80 = "route at 80% of its peak"
HELD_AT_80 = "held, at 80% of its peak"

_RATES = ("per_s", "p50_ms", "p99_ms")


class Target(Struct, frozen=True):
    """Something to be reached: at least `bound`, or at most where it is a latency."""

    name: str
    value: float
    bound: float
    met: bool


class Report(Struct, frozen=True):
    """The medians of each side."""

    sides: dict[str, Any]

    @property
    def targets(self) -> list[Target]:
        return [
            self._at_least("route to constant", ROUTE, CONSTANT, 0.75),
            self._at_least("route, ledger held, to constant", HELD, CONSTANT, 0.75),
            self._at_least("route to tutorial", ROUTE, TUTORIAL, 5),
            self._at_most("p99 at 80% of the peak, ms", self.sides[AT_80]["p99_ms"], 15),
            self._at_most("p99 at 80%, ledger held, ms", self.sides[HELD_AT_80]["p99_ms"], 15),
        ]

    def _at_least(self, name: str, side: str, other: str, bound: float) -> Target:
        ratio = round(self.sides[side]["per_s"] / self.sides[other]["per_s"], 2)
        return Target(name, ratio, bound, met=ratio >= bound)

    def _at_most(self, name: str, value: float, bound: float) -> Target:
        return Target(name, value, bound, met=value < bound)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON has it."""
        targets = {each.name: {"value": each.value, "bound": each.bound, "met": each.met} for each in self.targets}
        return {"sides": self.sides, "targets": targets}


def medians(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure of several rounds."""
    found: dict[str, Any] = {name: round(median(each[name] for each in figures), 2) for name in _RATES}
    processes = figures[0]["cpu_us"]
    found["cpu_us"] = {name: round(median(each["cpu_us"][name] for each in figures), 1) for name in processes}
    return found


def words(report: Report) -> str:
    """The report as lines of text."""
    lines = [_side(name, figures) for name, figures in report.sides.items()]
    for target in report.targets:
        wanted = f"under {target.bound:g}" if target.name.startswith("p99") else f"at least {target.bound:g}"
        lines.append(f"{target.name:34} {target.value:6.2f}  {wanted:14} {'met' if target.met else 'MISSED'}")
    return "\n".join(lines)


def _side(name: str, figures: dict[str, Any]) -> str:
    cpu = ", ".join(f"{process} {us:.1f}" for process, us in figures["cpu_us"].items())
    return (
        f"{name:26} {figures['per_s']:>8,.0f}/s  p50 {figures['p50_ms']:6.2f} ms  p99 {figures['p99_ms']:6.2f} ms"
        f"  CPU us: {cpu}"
    )

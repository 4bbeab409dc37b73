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

# Load, server, shard and worker. On fewer cores the worker, for whom no buyer waits, takes what the others need: there
# the rows with the ledger held are judged, as in `hotsku bench single`.
PROCESSES = 4

_RATES = ("per_s", "p50_ms", "p99_ms", "slowest_sync_ms")

_VERDICTS = {True: "met", False: "MISSED", None: "not judged"}


class Target(Struct, frozen=True):
    """Something to be reached: at least `bound`, or less where it is a latency.

    `met` is None where it is only shown.
    """

    name: str
    value: float
    bound: float
    met: bool | None


class Report(Struct, frozen=True):
    """The medians of each side, and the cores that they shared."""

    sides: dict[str, Any]
    cores: int

    @property
    def targets(self) -> list[Target]:
        follows = self.cores >= PROCESSES
        return [
            *self._of(HELD, HELD_AT_80, ", ledger held", judged=not follows),
            *self._of(ROUTE, AT_80, "", judged=follows),
        ]

    def _of(self, side: str, at_80: str, how: str, *, judged: bool) -> list[Target]:
        per_s, p99_ms = self.sides[side]["per_s"], self.sides[at_80]["p99_ms"]
        return [
            *(
                self._target(f"route{how}, to {other}", round(per_s / self.sides[other]["per_s"], 2), least, judged)
                for other, least in ((CONSTANT, 0.75), (TUTORIAL, 5))
            ),
            Target(f"p99 at 80%{how}, ms", p99_ms, 15, met=p99_ms < 15 if judged else None),
        ]

    def _target(self, name: str, ratio: float, least: float, judged: bool) -> Target:
        return Target(name, ratio, least, met=ratio >= least if judged else None)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON has it."""
        targets = {each.name: {"value": each.value, "bound": each.bound, "met": each.met} for each in self.targets}
        return {"cores": self.cores, "sides": self.sides, "targets": targets}


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
        lines.append(f"{target.name:34} {target.value:6.2f}  {wanted:14} {_VERDICTS[target.met]}")
    if report.cores < PROCESSES:
        lines.append(f"{PROCESSES} processes share {report.cores} cores while the ledger follows: shown, not judged")
    return "\n".join(lines)


def _side(name: str, figures: dict[str, Any]) -> str:
    cpu = ", ".join(f"{process} {us:.1f}" for process, us in figures["cpu_us"].items())
    syncs = f", slowest sync {figures['slowest_sync_ms']:.0f} ms" if figures["slowest_sync_ms"] else ""
    return (
        f"{name:26} {figures['per_s']:>8,.0f}/s  p50 {figures['p50_ms']:6.2f} ms  p99 {figures['p99_ms']:6.2f} ms"
        f"  CPU us: {cpu}, in all {sum(figures['cpu_us'].values()):.1f}{syncs}"
    )

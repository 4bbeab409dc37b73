"""What a run of the benchmark says: machine, sections, rows of rounds, and figures against their targets."""

from collections.abc import Callable
from statistics import median

from msgspec import Struct


class Measured(Struct, frozen=True, kw_only=True):
    """One round of one side. What was accepted, rejected and replayed is never added up: a no is cheaper than a sale.

    `client_cpu_s`, `server_cpu_s` and `replica_cpu_s` are CPU seconds of this process, of the shards' masters and of
    their replicas; `calls` counts the function calls that the masters were sent, 0 where nobody counted. Latencies are
    of all answers, in milliseconds, 0 where none were taken.
    """

    seconds: float
    accepted: int = 0
    rejected: int = 0
    replayed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    replica_cpu_s: float = 0.0
    calls: int = 0

    @property
    def answers(self) -> int:
        return self.accepted + self.rejected + self.replayed

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds of client and servers for a million answers; that is microseconds an answer."""
        return self.per_million(self.client_cpu_s + self.server_cpu_s + self.replica_cpu_s)

    @property
    def orders_a_call(self) -> float:
        """Answers by function call: how large the batches were."""
        return self.answers / self.calls if self.calls else 0.0

    def per_million(self, seconds: float) -> float:
        """What so many seconds are for a million answers."""
        return seconds * 1e6 / self.answers if self.answers else 0.0


class Row(Struct, kw_only=True):
    """One side of a comparison, all its rounds, and their medians."""

    name: str
    note: str = ""
    rounds: list[Measured] = []
    accepted_per_s: float = 0.0
    rejected_per_s: float = 0.0
    replayed_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_per_million: float = 0.0
    client_per_million: float = 0.0
    server_per_million: float = 0.0
    replica_per_million: float = 0.0
    orders_a_call: float = 0.0

    @property
    def per_s(self) -> float:
        """Median answers a second."""
        return self._median(lambda measured: measured.per_s)

    def summed_up(self) -> "Row":
        """The same row with the medians of its rounds."""
        self.accepted_per_s = self._median(lambda measured: measured.accepted / measured.seconds)
        self.rejected_per_s = self._median(lambda measured: measured.rejected / measured.seconds)
        self.replayed_per_s = self._median(lambda measured: measured.replayed / measured.seconds)
        self.p50_ms = self._median(lambda measured: measured.p50_ms)
        self.p99_ms = self._median(lambda measured: measured.p99_ms)
        self.cpu_per_million = self._median(lambda measured: measured.cpu_per_million)
        self.client_per_million = self._median(lambda measured: measured.per_million(measured.client_cpu_s))
        self.server_per_million = self._median(lambda measured: measured.per_million(measured.server_cpu_s))
        self.replica_per_million = self._median(lambda measured: measured.per_million(measured.replica_cpu_s))
        self.orders_a_call = self._median(lambda measured: measured.orders_a_call)
        return self

    def _median(self, of: Callable[[Measured], float]) -> float:
        return median([of(measured) for measured in self.rounds]) if self.rounds else 0.0


class Figure(Struct, frozen=True, kw_only=True):
    """One number that matters. `least` and `most` are its target, where it has one."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


class Chart(Struct, frozen=True, kw_only=True):
    """A chart to draw: a bar for each label and series."""

    title: str
    labels: list[str]
    series: dict[str, list[float | None]]
    log: bool = False


class Section(Struct, kw_only=True):
    """One question, and what was measured."""

    name: str
    title: str
    rows: list[Row] = []
    figures: list[Figure] = []
    charts: list[Chart] = []
    notes: list[str] = []

    def row(self, name: str) -> Row:
        """The row with this name."""
        return next(row for row in self.rows if row.name == name)


class Machine(Struct, frozen=True, kw_only=True):
    """Where it ran."""

    cores: int
    cpu: str
    memory_gb: float
    system: str
    python: str
    load_before: float
    fsync_ms: float
    versions: dict[str, str]


class Report(Struct, frozen=True, kw_only=True):
    """A whole run."""

    hotsku: str
    commit: str
    at: str
    quick: bool
    rounds: int
    seconds_a_round: float
    machine: Machine
    sections: list[Section]


def ratio(name: str, value: float, base: float, *, least: float | None = None) -> Figure:
    """How many times `base` the `value` is."""
    return Figure(name=name, value=value / base if base else 0.0, unit="times", least=least)

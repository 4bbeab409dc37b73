"""What one process counts. Plain integers: the hot path adds, and whoever is scraped turns them into metrics."""

from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from hotsku.engine.batch_sizes import BatchSizes

LATENCY_BOUNDS_MS = (
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    15.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
)


class Histogram(Struct, gc=False):
    """Observations by the first bound that they do not exceed; the last count is of those beyond all bounds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def observe(self, ms: float) -> None:
        self.counts[bisect_left(LATENCY_BOUNDS_MS, ms)] += 1
        self.sum_ms += ms

    def add(self, other: "Histogram") -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_ms += other.sum_ms


class RouteCounters(Struct, gc=False):
    """One route's answers, by status and label, and how long they took."""

    answered: dict[tuple[int, str], int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)

    def note(self, status: int, label: str, ms: float) -> None:
        key = (status, label)
        self.answered[key] = self.answered.get(key, 0) + 1
        self.latency.observe(ms)


class Counters(Struct):
    """Everything that a server process counts. `orders` are by what became of them, each one of a batch, and a
    cart as one; `batches` are calls of shards.

    `levels` are as of now and not counted up: what is under way, what waits, connections.
    """

    routes: dict[str, RouteCounters] = field(default_factory=dict)
    batches: dict[str, BatchSizes] = field(default_factory=dict)
    orders: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)

    def route(self, name: str) -> RouteCounters:
        """The counters of a route."""
        return self.routes.setdefault(name, RouteCounters())

    def order(self, label: str, count: int = 1) -> None:
        self.orders[label] = self.orders.get(label, 0) + count

    def drop(self, why: str) -> None:
        """A connection was ended for a reason that its client gave."""
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def add_batches(self, sizes: Mapping[str, BatchSizes]) -> None:
        """Batches were decided: of orders, of steps."""
        for name, more in sizes.items():
            self.batches.setdefault(name, BatchSizes()).add(more)

    def add(self, other: "Counters") -> None:
        """Add another process's."""
        for name, route in other.routes.items():
            mine = self.route(name)
            for key, count in route.answered.items():
                mine.answered[key] = mine.answered.get(key, 0) + count
            mine.latency.add(route.latency)
        self.add_batches(other.batches)
        for mine_of, theirs in (
            (self.orders, other.orders),
            (self.dropped, other.dropped),
            (self.levels, other.levels),
        ):
            for label, count in theirs.items():
                mine_of[label] = mine_of.get(label, 0) + count


class CountersFolder:
    """Where several server processes leave their counters for each other: one file for each.

    A scrape reaches any one of them, and tells of all. A process that is started again in another's place goes on
    counting where that one stopped, so that no sum ever falls.
    """

    def __init__(self, folder: Path, number: int, counters: Counters) -> None:
        """
        Args:
            number: of this process; its successor has the same.
        """
        self._folder = folder
        self._file = folder / f"{number}.counters"
        self._counters = counters
        if earlier := _read(self._file):
            earlier.levels.clear()
            counters.add(earlier)

    def write(self) -> None:
        """Leave this process's counters, as they are now."""
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.msgpack.encode(self._counters))
        fresh.replace(self._file)

    def of_all(self) -> Counters:
        """The sum over all processes: this one's as they are, the others' as they last wrote them."""
        total = Counters()
        total.add(self._counters)
        for file in self._folder.glob("*.counters"):
            if file != self._file and (others := _read(file)):
                total.add(others)
        return total


def _read(file: Path) -> Counters | None:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=Counters)
    except (OSError, msgspec.DecodeError):
        return None

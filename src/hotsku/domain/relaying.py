"""One partition's way from its stream to the ledger: what was sent, what the ledger has, when to send again."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct, field

from hotsku.domain.events import Event, PartitionRef

MAX_EVENTS = 5_000
MAX_BYTES = 1 << 20

_MOST_IN_FLIGHT = 8
_LONGEST_PATIENCE_MS = 30_000.0
# More than are ever in flight at once, of all partitions.
_LANDINGS = 256


def cut_messages(
    events: Sequence[Event], encode: Callable[[Sequence[Event]], bytes]
) -> Iterator[tuple[Sequence[Event], bytes]]:
    """The events in runs of up to 5,000, each with its message of up to 1 MiB; none is empty.

    Args:
        encode: makes a message of events.
    """
    for start in range(0, len(events), MAX_EVENTS):
        yield from _halved(events[start : start + MAX_EVENTS], encode)


def _halved(
    run: Sequence[Event], encode: Callable[[Sequence[Event]], bytes]
) -> Iterator[tuple[Sequence[Event], bytes]]:
    """The run as one message, or halves of it as several. Nearly every run fits, so it is not measured before."""
    body = encode(run)
    if len(body) <= MAX_BYTES or len(run) == 1:
        yield run, body
        return
    middle = len(run) // 2
    yield from _halved(run[:middle], encode)
    yield from _halved(run[middle:], encode)


class Flight(Struct, frozen=True):
    """A published message that the ledger is not known to have."""

    last_seq: int
    sent_ms: float


class Landings:
    """The last messages of all partitions that the ledger was seen to have.

    Messages wait in one queue: as long as others land that were sent before one, its turn has not come, and nothing is
    lost. A ledger that takes seconds for what is in flight would get all of it twice, and be slower still.
    """

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=_LANDINGS)

    def add(self, sent_ms: float, now_ms: float) -> None:
        """A message landed."""
        self._last.append((sent_ms, now_ms))

    def before(self, sent_ms: float) -> float:
        """When the last one landed that was not sent later."""
        return max((landed_ms for sent, landed_ms in self._last if sent <= sent_ms), default=float("-inf"))


class Progress(Struct, kw_only=True, eq=False):
    """How far one incarnation of a partition has come.

    `published` is the last seq sent, `watermark` the last that the ledger is known to have. Published messages are in
    flight until the watermark passes them, or until they are given up for lost.

    Attributes:
        patience_ms: how long the watermark may stand still under a message in flight; doubled at each re-send.
        since_ms: when the watermark last moved, or the first message in flight was sent (monotonic).
        resends: how often in a row the messages in flight were given up.
        landings: those of all partitions that share a queue.
    """

    ref: PartitionRef
    incarnation: int
    watermark: int
    patience_ms: float
    published: int = 0
    trimmed: int = 0
    since_ms: float = 0.0
    resends: int = 0
    flying: deque[Flight] = field(default_factory=deque)
    landings: Landings = field(default_factory=Landings)

    def __post_init__(self) -> None:
        self.published = max(self.published, self.watermark)

    @property
    def may_send(self) -> bool:
        """After a loss one message at a time, until the watermark moves again."""
        return len(self.flying) < (1 if self.resends else _MOST_IN_FLIGHT)

    def sent(self, last_seq: int, now_ms: float) -> None:
        """A message that ends at `last_seq` was published."""
        if last_seq <= self.watermark:  # the ledger was quicker than the broker's answer
            return
        if not self.flying:
            self.since_ms = now_ms
        self.flying.append(Flight(last_seq, now_ms))
        self.published = last_seq

    def reached(self, watermark: int, now_ms: float) -> bool:
        """The ledger has everything up to `watermark`. Returns whether that is news."""
        if watermark <= self.watermark:
            return False
        self.watermark = watermark
        self.published = max(self.published, watermark)
        self.since_ms = now_ms
        self.resends = 0
        while self.flying and self.flying[0].last_seq <= watermark:
            self.landings.add(self.flying.popleft().sent_ms, now_ms)
        return True

    def stalled(self, now_ms: float) -> bool:
        """Has the watermark stood still for too long under messages in flight whose turn had come?"""
        if not self.flying:
            return False
        patience_ms: float = min(self.patience_ms * 2**self.resends, max(self.patience_ms, _LONGEST_PATIENCE_MS))
        since_ms = max(self.since_ms, self.landings.before(self.flying[0].sent_ms))
        return now_ms - since_ms >= patience_ms

    def rewind(self, now_ms: float) -> None:
        """Give up what is in flight; the next message starts after the watermark."""
        self.published = self.watermark
        self.flying.clear()
        self.resends += 1
        self.since_ms = now_ms

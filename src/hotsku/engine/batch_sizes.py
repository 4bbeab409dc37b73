"""How many requests the batches of an engine had: one batch is one call of a shard."""

from msgspec import Struct, field

# A batch is counted under the first power of two that it does not exceed; no batch has more requests than the last.
BOUNDS = tuple(2**power for power in range(11))


class BatchSizes(Struct):
    """Batches by their size, and the requests in all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BOUNDS))
    requests: int = 0

    def note(self, size: int) -> None:
        """A batch of so many requests was decided."""
        self.counts[(size - 1).bit_length()] += 1
        self.requests += size

    def add(self, other: "BatchSizes") -> None:
        """Add what another has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.requests += other.requests

    def take(self) -> "BatchSizes":
        """What was counted since the last time."""
        taken = BatchSizes(self.counts, self.requests)
        self.counts, self.requests = [0] * len(BOUNDS), 0
        return taken

"""The engine's estimate of the shard's clock, by which batches carry their deadlines."""

from hotsku.ports import Clock


class ShardClock:
    """Follows the shard's clock from the times in its replies."""

    def __init__(self, clock: Clock, shard_now_ms: int) -> None:
        self._clock = clock
        self._ahead_ms = shard_now_ms - clock.monotonic_ms()

    def observe(self, shard_now_ms: int) -> None:
        """A reply told the time."""
        self._ahead_ms = shard_now_ms - self._clock.monotonic_ms()

    def in_ms(self, delay_ms: int) -> int:
        """What the shard's clock will show after a delay."""
        return int(self._clock.monotonic_ms() + self._ahead_ms) + delay_ms

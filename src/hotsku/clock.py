"""Real time. No other file reads it; everything else is handed a `hotsku.ports.Clock`."""

import time


class SystemClock:
    """The clock of this machine: an implementation of `hotsku.ports.Clock`."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch; may step when the machine's time is set."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """Milliseconds that never run backwards, from an arbitrary start; finer than a microsecond."""
        return time.perf_counter_ns() / 1_000_000

    def epoch_ns(self, monotonic_ms: float) -> int:
        """When a moment of `monotonic_ms` was, in nanoseconds since the epoch."""
        return time.time_ns() - time.perf_counter_ns() + int(monotonic_ms * 1_000_000)

"""Real time, as a port."""

from typing import Protocol


class Clock(Protocol):
    """Real time, injected. Only `hotsku.clock` reads it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic_ms(self) -> float:
        """Milliseconds that never run backwards, from an arbitrary start."""
        ...

"""What an engine knows of an item beyond its partitions: how many units are not sold."""

from hotsku.ports import Clock

_SOLD_OUT_TRUSTED_MS = 500
# A figure above 0 is told to buyers: it must not be an old one.
_TRUSTED_MS = 50


class KnownStanding:
    """The item's unsold units as a round last published them.

    Unsold units only ever get fewer until some come back, and then `forget` is called. So an order of more than that
    may be refused at once, without parking, for a short while.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._available = 0
        self._until_ms = float("-inf")

    def learn(self, available: int) -> None:
        self._available = available
        self._until_ms = self._clock.monotonic_ms() + (_TRUSTED_MS if available else _SOLD_OUT_TRUSTED_MS)

    def forget(self) -> None:
        self._until_ms = float("-inf")

    @property
    def available(self) -> int | None:
        """Units not sold; None where it is not known well enough."""
        return self._available if self._clock.monotonic_ms() < self._until_ms else None

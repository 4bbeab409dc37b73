"""How long to wait before trying again."""


class Backoff:
    """Delays in seconds that double from `first_s` to `most_s`, until something worked."""

    def __init__(self, first_s: float = 0.05, most_s: float = 1.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def reset(self) -> None:
        """It worked: the next delay is the first one again."""
        self._next_s = self._first_s

    def next_s(self) -> float:
        """The seconds to wait now."""
        delay = self._next_s
        self._next_s = min(delay * 2, self._most_s)
        return delay

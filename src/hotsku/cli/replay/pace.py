"""When each line of a log is due, where the replay is not at full speed."""

from hotsku.cli.exits import UsageError

_ALLOWED = "--speed must be max, or how many times faster than the log, a number above 0"


def parse_speed(text: str) -> float | None:
    """How many times faster than the log; None: as fast as it goes.

    Raises:
        UsageError: it is neither `max` nor a number above 0.
    """
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        raise UsageError(f"{_ALLOWED}, not {ascii(text)[:80]}") from None
    if not 0 < speed < 1e9:
        raise UsageError(f"{_ALLOWED}, not {ascii(text)[:80]}")
    return speed


class Pace:
    """Turns the log's times into delays."""

    def __init__(self, speed: float | None, now_ms: float) -> None:
        """
        Args:
            speed: how many times faster than the log; None: nothing waits.
            now_ms: when the replay starts (monotonic).
        """
        self._speed = speed
        self._start_ms = now_ms
        self._first_ms: int | None = None

    def delay_s(self, at_ms: int | None, now_ms: float) -> float:
        """How long a line that the log has at `at_ms` has still to wait, in seconds; 0 where it is due."""
        if self._speed is None or at_ms is None:
            return 0.0
        if self._first_ms is None:
            self._first_ms = at_ms
        due_ms = self._start_ms + (at_ms - self._first_ms) / self._speed
        return max(0.0, due_ms - now_ms) / 1000

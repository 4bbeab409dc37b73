"""The access log: what went wrong and what was slow. Sales and noes are counted, not logged: see the metrics."""

from hotsku.log import get_logger
from hotsku.ports import Clock

SLOW_MS = 1_000.0
# Lines a second. A client that sends nonsense must not be able to fill a disk.
_MOST_PER_S = 100

_log = get_logger("http.access")


def is_worth_a_line(status: int, ms: float) -> bool:
    """Whether an answer is neither a success nor a no, or took long."""
    return (status >= 300 and status != 409) or ms >= SLOW_MS


class AccessLog:
    """Writes a line for each answer that is worth one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ms = clock.monotonic_ms()
        self._lines = 0

    def note(self, method: str, path: str, status: int, label: str, ms: float, request_id: bytes, client: str) -> None:
        """An answer was sent."""
        if not is_worth_a_line(status, ms) or not self._may():
            return
        _log.warning(
            "slow" if status < 300 or status == 409 else "refused",
            method=method,
            path=path[:200],
            status=status,
            label=label,
            ms=round(ms, 1),
            request_id=request_id.decode("latin-1"),
            client=client,
        )

    def _may(self) -> bool:
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._since_ms >= 1_000:
            if self._lines > _MOST_PER_S:
                _log.warning("lines were left out", count=self._lines - _MOST_PER_S)
            self._since_ms, self._lines = now_ms, 0
        self._lines += 1
        return self._lines <= _MOST_PER_S

"""A clock that a test turns, and signals that keep what was published."""

from collections.abc import Callable

from hotsku.ports import Needs, News, Work


class HandClock:
    """Time stands still until a test moves it."""

    def __init__(self, at_ms: float = 1_000_000.0) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return int(self.at_ms)

    def monotonic_ms(self) -> float:
        return self.at_ms


class RecordingSignals:
    """Keeps what is published; nobody else hears it."""

    def __init__(self) -> None:
        self.published: list[Needs | News | Work] = []

    def publish(self, signal: Needs | News | Work) -> None:
        self.published.append(signal)

    def subscribe(
        self,
        *,
        needs: Callable[[Needs], None] | None = None,
        news: Callable[[News], None] | None = None,
        work: Callable[[Work], None] | None = None,
    ) -> None:
        raise AssertionError("nothing here listens")

    def take(self) -> list[Needs | News | Work]:
        """What was published since the last look."""
        published, self.published = self.published, []
        return published

"""The one clock that reads real time."""

from datetime import UTC, datetime, timedelta

from hotsku.clock import SystemClock
from hotsku.ports import Clock


def test_it_tells_the_time() -> None:
    clock: Clock = SystemClock()
    shown = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    assert abs(datetime.now(UTC) - shown) < timedelta(seconds=5)


def test_it_never_runs_backwards() -> None:
    clock: Clock = SystemClock()
    readings = [clock.monotonic_ms() for _ in range(1000)]
    assert readings == sorted(readings)
    assert readings[-1] - readings[0] < 5000


def test_it_knows_when_a_moment_was() -> None:
    clock = SystemClock()
    before_ms, moment_ms, after_ms = clock.now_ms(), clock.monotonic_ms(), clock.now_ms()
    clock.monotonic_ms()
    assert before_ms <= clock.epoch_ns(moment_ms) / 1_000_000 <= after_ms + 1
    assert clock.epoch_ns(moment_ms - 60_000) < clock.epoch_ns(moment_ms) - 59_000_000_000

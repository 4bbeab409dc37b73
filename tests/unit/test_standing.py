"""How long an engine believes what it heard of an item's unsold units."""

from tests.support.listening import HandClock

from hotsku.engine.standing import KnownStanding


def test_nothing_is_known_at_first() -> None:
    assert KnownStanding(HandClock(0.0)).available is None


def test_what_is_known_is_believed_for_500_ms() -> None:
    clock = HandClock()
    standing = KnownStanding(clock)
    standing.learn(0)
    assert standing.available == 0
    clock.at_ms += 499.9
    assert standing.available == 0
    clock.at_ms += 0.1
    assert standing.available is None


def test_the_latest_counts() -> None:
    clock = HandClock()
    standing = KnownStanding(clock)
    standing.learn(7)
    clock.at_ms += 40
    standing.learn(3)
    clock.at_ms += 40
    assert standing.available == 3


def test_a_figure_that_buyers_are_told_is_never_an_old_one() -> None:
    clock = HandClock()
    standing = KnownStanding(clock)
    standing.learn(3)
    clock.at_ms += 50
    assert standing.available is None


def test_when_units_come_back_nothing_is_known() -> None:
    standing = KnownStanding(HandClock())
    standing.learn(0)
    standing.forget()
    assert standing.available is None
    standing.learn(2)
    assert standing.available == 2

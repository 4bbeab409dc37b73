"""Exit statuses, latencies, times, words and tables of the command line."""

import asyncio
from datetime import UTC, datetime

import pytest
import typer

from hotsku.cli import histogram
from hotsku.cli.exits import Exit, UsageError, explain
from hotsku.cli.orders import sentence
from hotsku.cli.tables import bar
from hotsku.cli.times import parse_log_ms, parse_rfc3339
from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.errors import (
    BackendUnavailable,
    ConservationBroken,
    IdempotencyConflict,
    InvalidRequest,
    InvalidSettings,
    OutcomeUnknown,
    Overloaded,
    UnknownItem,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidSettings("x"), Exit.USAGE),
        (InvalidRequest("quantity", "more"), Exit.USAGE),
        (UsageError("x"), Exit.USAGE),
        (typer.BadParameter("x"), Exit.USAGE),
        (UnknownItem("a"), Exit.NO),
        (IdempotencyConflict("x"), Exit.NO),
        (ConservationBroken("x"), Exit.NO),
        (BackendUnavailable("x"), Exit.UNAVAILABLE),
        (Overloaded("x"), Exit.UNAVAILABLE),
        (OutcomeUnknown("x"), Exit.UNAVAILABLE),
        (PermissionError(13, "Permission denied", "/x"), Exit.UNAVAILABLE),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (asyncio.CancelledError(), Exit.INTERRUPTED),
        (BaseExceptionGroup("two", [KeyboardInterrupt(), BackendUnavailable("x")]), Exit.UNAVAILABLE),
    ],
)
def test_each_fault_has_its_exit_status(error: BaseException, status: Exit) -> None:
    assert explain(error)[1] is status


def test_an_error_is_one_line_whatever_it_says() -> None:
    line, _ = explain(BackendUnavailable("first\n second\t\x1b[31mthird\x00"))
    assert line == "first second ?[31mthird?"


def test_percentiles_are_within_a_few_percent() -> None:
    counts: dict[int, int] = {}
    for ms in range(1, 1001):
        histogram.merge(counts, {histogram.bucket_of(ms): 1})
    assert histogram.percentile_ms(counts, 50) == pytest.approx(500, rel=0.03)
    assert histogram.percentile_ms(counts, 99) == pytest.approx(990, rel=0.03)
    assert histogram.percentile_ms({}, 99) == 0.0
    assert histogram.bucket_of(0.0) == 0


def test_times() -> None:
    assert parse_rfc3339("2026-11-27T21:00:00+01:00") == parse_rfc3339("2026-11-27 20:00:00z")
    assert parse_log_ms("1795809600") == parse_log_ms(1795809600.0) == parse_log_ms("2026-11-27T20:00:00Z")
    assert parse_log_ms("1795809600123") == 1795809600123


@pytest.mark.parametrize("text", ["2026-11-27T20:00:00", "2026-11-27", "now", "2026-13-27T20:00:00Z"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"20|now|month"):
        parse_rfc3339(text)


@pytest.mark.parametrize("value", [True, None, "NaN", float("nan"), -1, 1e20, [1]])
def test_no_times_of_a_log(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_log_ms(value)


@pytest.mark.parametrize(
    ("value", "most", "full"), [(0, 10, 0), (1, 1000, 1), (999, 1000, 9), (1000, 1000, 10), (0, 0, 0)]
)
def test_a_bar_is_full_only_where_all_is_there(value: int, most: int, full: int) -> None:
    assert bar(value, most) == "█" * full + "░" * (10 - full)


def test_answers_in_words() -> None:
    def said(outcome: Outcome, **more: object) -> str:
        values = {"sku": "a", "order_id": "o", "buyer_id": "u", "quantity": 2, "partition": 0} | more
        return sentence(Deduction(outcome=outcome, **values))  # type: ignore[arg-type]

    accepted = said(Outcome.ACCEPTED, state=OrderState.CONFIRMED, replayed=True)
    assert accepted == "accepted: 2 of a to order o of buyer u, confirmed (by an earlier attempt)"
    assert (
        said(Outcome.HELD, state=OrderState.HELD, expires_at=datetime(2026, 11, 27, 20, tzinfo=UTC))
        == "held: 2 of a to order o of buyer u, held until 2026-11-27 20:00:00 UTC"
    )
    refunded = said(Outcome.ACCEPTED, state=OrderState.CONFIRMED, refunded=1, payment_ref="p")
    assert refunded == "accepted: 2 of a to order o of buyer u, confirmed, paid by p, 1 refunded"
    assert said(Outcome.INSUFFICIENT, available=1) == "insufficient: 2 of a to order o of buyer u, 1 left"
    assert "--buyer" in said(Outcome.NOT_FOUND, buyer_id="")

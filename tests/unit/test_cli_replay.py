"""Order logs, their stock, their pace, and the summary of a replay."""

import io

import pytest
from rich.console import Console

from hotsku.cli.exits import UsageError
from hotsku.cli.replay.log import BadLine, LogLine, read_lines
from hotsku.cli.replay.pace import Pace, parse_speed
from hotsku.cli.replay.report import Stand, result, sentence, show
from hotsku.cli.replay.stock import parse_rows, parse_stock
from hotsku.cli.replay.tally import ReplayTally
from hotsku.domain.deduction import Deduction, Outcome

_AT_MS = 1_795_809_600_000  # 2026-11-27T20:00:00Z


def _lines(text: str) -> list[LogLine | BadLine]:
    return list(read_lines(io.StringIO(text), "log"))


def _bad(text: str) -> list[tuple[int, str]]:
    return [(line.number, line.why) for line in _lines(text) if isinstance(line, BadLine)]


_HEADER = "at,sku,quantity,order_id,buyer_id\n"


def test_csv_with_columns_in_any_order() -> None:
    first, second = _lines("order_id,note,sku,at,quantity\no-1,x,a,2026-11-27T20:00:00Z,2\n\no-2,y,b,1795809601,1\n")
    assert first == LogLine(2, _AT_MS, "a", 2, "o-1", "")
    assert second == LogLine(4, _AT_MS + 1000, "b", 1, "o-2", "")


def test_json_lines() -> None:
    first, second = _lines(
        '{"at": 1795809600000, "sku": "a", "quantity": 3, "order_id": "o", "buyer_id": "u"}\n'
        '{"sku": "b", "order_id": "p"}'
    )
    assert first == LogLine(1, _AT_MS, "a", 3, "o", "u")
    assert second == LogLine(2, None, "b", 1, "p", "")


@pytest.mark.parametrize(
    "quantity", ["0", "-1", "1.5", "true", "NaN", "1000000000000", "", "+1", "1_0", "\uff11", " 1"]
)
def test_a_bad_quantity_in_csv_is_told_with_its_line(quantity: str) -> None:
    text = f"{_HEADER}1795809600,a,1,o-1,u\n1795809600,a,{quantity},o-2,u\n1795809600,a,1,o-3,u\n"
    assert len(_lines(text)) == 3
    ((number, why),) = _bad(text)
    assert number == 3
    assert why.startswith("quantity must be an integer")


@pytest.mark.parametrize("quantity", ["0", "-1", "1.5", "true", '"3"', "1e3", "null", "1000000000000"])
def test_a_bad_quantity_in_json_is_told(quantity: str) -> None:
    ((number, why),) = _bad(f'\n{{"sku": "a", "order_id": "o", "quantity": {quantity}}}\n')
    assert number == 2
    assert why.startswith("quantity must be an integer")


@pytest.mark.parametrize(
    "line", ["NaN,a,1,o,u", "yesterday,a,1,o,u", "-1,a,1,o,u", "2026-11-27T20:00:00,a,1,o,u", "1e400,a,1,o,u"]
)
def test_a_bad_time_is_told(line: str) -> None:
    ((_, why),) = _bad(_HEADER + line)
    assert why.startswith("at must be")


@pytest.mark.parametrize(
    ("line", "field"),
    [("1,,1,o,u", "sku"), ("1,a{b,1,o,u", "sku"), ("1,a,1,,u", "order_id"), (f"1,a,1,{'o' * 65},u", "order_id"),
     ("1,a,1,o,ü", "buyer_id"), ('1,a,1,"o\n1",u', "order_id"), ("1,a,1,o\0,u", "order_id")],
)  # fmt: skip
def test_a_bad_id_is_told(line: str, field: str) -> None:
    ((_, why),) = _bad(_HEADER + line)
    assert why.startswith(f"{field} must be")


def test_a_line_with_too_few_values_or_no_json_is_told() -> None:
    assert _bad(_HEADER + "1,a,1\n") == [(2, "it has 3 values, the header 5")]
    ((number, why),) = _bad('{"sku": "a", "order_id": "o"}\nnonsense\n')
    assert (number, why.startswith("it is no JSON object")) == (2, True)
    assert _bad('{"sku": "a", "order_id": "o"}\n[1]\n')[0][0] == 2


def test_a_log_without_its_columns_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="it lacks order_id"):
        _lines("sku,quantity\na,1\n")
    with pytest.raises(UsageError, match="twice"):
        _lines("sku,sku,order_id\na,a,1\n")


def test_an_empty_log_has_no_lines() -> None:
    assert _lines("\n \n") == []


def test_stock_of_options_and_rows() -> None:
    assert parse_stock(["a=5", "b=7", "a=6"]) == {"a": 6, "b": 7}
    assert parse_rows(["sku,name,stock\n", "a,x,5\n", "\n", "b,y,7\n"], "f") == {"a": 5, "b": 7}
    assert parse_rows(["a,5\n"], "f") == {"a": 5}


@pytest.mark.parametrize(
    ("option", "says"),
    [("a=0", "stock must be"), ("a=x", "stock must be"), ("a b=1", "sku must be"), ("none.csv", "SKU=UNITS, or a CSV")],
)
def test_a_bad_stock_is_a_usage_error(option: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_stock([option])


def test_speeds() -> None:
    assert parse_speed("max") is None
    assert parse_speed("1") == 1.0
    assert parse_speed("2.5") == 2.5
    for bad in ("0", "-1", "fast", "nan", "inf"):
        with pytest.raises(UsageError, match="--speed"):
            parse_speed(bad)


def test_lines_are_due_as_the_log_has_them_but_faster() -> None:
    pace = Pace(10.0, now_ms=500.0)
    assert pace.delay_s(_AT_MS, 500.0) == 0.0
    assert pace.delay_s(_AT_MS + 20_000, 600.0) == pytest.approx(1.9)
    assert pace.delay_s(_AT_MS - 5_000, 600.0) == 0.0
    assert pace.delay_s(None, 600.0) == 0.0
    assert Pace(None, 0.0).delay_s(_AT_MS, 0.0) == 0.0


def _line(number: int, quantity: int = 1, sku: str = "a", order: str | None = None) -> LogLine:
    return LogLine(number, _AT_MS + number * 1000, sku, quantity, order or f"o-{number}", "u")


def _answer(line: LogLine, outcome: Outcome = Outcome.ACCEPTED, *, replayed: bool = False) -> Deduction:
    return Deduction(
        outcome=outcome,
        sku=line.sku,
        order_id=line.order_id,
        buyer_id=line.buyer_id,
        quantity=line.quantity,
        partition=0,
        replayed=replayed,
    )


def _tally() -> ReplayTally:
    """Five lines: two orders sold, one of them twice in the log, one refused, one invalid."""
    tally = ReplayTally()
    tally.lines = 5
    tally.hear(_line(1, 2), _answer(_line(1, 2)))
    tally.hear(_line(2), _answer(_line(2)))
    tally.hear(_line(3, 2, order="o-1"), _answer(_line(3, 2, order="o-1"), replayed=True))
    tally.hear(_line(4, 4), _answer(_line(4, 4), Outcome.SOLD_OUT))
    tally.bad(BadLine(5, "quantity must be an integer", "a"))
    return tally


def test_a_replays_figures() -> None:
    report = result(_tally(), {"a": Stand(3, 3, 0)}, problems=[], lag=0, seconds=2.0, interrupted=False)
    assert report.ok
    assert (report.lines, report.answered, report.accepted, report.rejected, report.replayed) == (5, 5, 2, 2, 1)
    assert (report.invalid, report.invalid_lines) == (1, [(5, "quantity must be an integer")])
    item = report.items["a"]
    assert (item.stock, item.sold, item.left, item.accepted, item.rejected, item.refused_units) == (3, 3, 0, 2, 2, 4)
    assert item.sold_out_at == "2026-11-27 20:00:02"


def test_an_order_that_an_earlier_replay_sold_is_accepted_and_repeated() -> None:
    tally = ReplayTally()
    tally.lines = 1
    tally.hear(_line(1), _answer(_line(1), replayed=True))
    report = result(tally, {"a": Stand(3, 1, 1)}, problems=[], lag=0, seconds=1.0, interrupted=False)
    assert (report.accepted, report.replayed, report.ok) == (1, 1, True)


def test_a_replay_is_not_ok_when_anything_is_amiss() -> None:
    def ok(tally: ReplayTally, stand: Stand, problems: list[str], lag: int, *, interrupted: bool = False) -> bool:
        return result(tally, {"a": stand}, problems=problems, lag=lag, seconds=1.0, interrupted=interrupted).ok

    stand = Stand(3, 3, 0)
    assert ok(_tally(), stand, [], 0)
    assert not ok(_tally(), stand, ["I2"], 0)
    assert not ok(_tally(), stand, [], 1)
    assert not ok(_tally(), Stand(3, 2, 0), [], 0)
    assert not ok(_tally(), Stand(2, 3, 0), [], 0)
    assert not ok(_tally(), stand, [], 0, interrupted=True)
    unanswered = _tally()
    unanswered.lines += 1
    assert not ok(unanswered, stand, [], 0)


def test_the_summary_shows_the_worst_twenty_and_all() -> None:
    tally = ReplayTally()
    stands = {}
    for number in range(30):
        sku = f"sku-{number:02d}"
        line = _line(number, number + 1, sku)
        tally.hear(line, _answer(line, Outcome.SOLD_OUT))
        stands[sku] = Stand(10, 0, 0)
    tally.lines = 30
    report = result(tally, stands, problems=[], lag=0, seconds=1.0, interrupted=False)
    console = Console(file=io.StringIO(), width=120)
    show(console, report)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.index("sku-29") < text.index("sku-28") < text.index("sku-10")
    assert "sku-09" not in text
    assert "and 10 more" in text
    assert "all 30" in text
    assert sentence(report) in text

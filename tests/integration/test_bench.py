"""The benchmark runs, counts what it heard by kind, and writes what the docs show."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hotsku.bench.callers import closed_loop, percentile
from hotsku.bench.charts import render
from hotsku.bench.report import Chart, Figure, Measured, Row, ratio
from hotsku.bench.sections.drain import judge
from hotsku.bench.sections.open_loop import histogram
from hotsku.cli.main import run
from hotsku.clock import SystemClock
from hotsku.strategies.base import Answer

pytestmark = pytest.mark.usefixtures("patient")


def _bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    line = ["bench", *arguments, "--quick", "--rounds", "1", "--seconds", "0.05", "--json"]
    status, said = run(line), capsys.readouterr()
    assert status == 0, said.err
    answer: dict[str, object] = json.loads(said.out)
    return answer


def test_rejections_and_replays_are_counted_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = _bench(capsys, "reject", "open-loop", "--out", str(tmp_path))
    sections = report["sections"]
    assert isinstance(sections, list)
    reject, open_loop = sections
    kinds = [("accepted", "rejected"), ("rejected", "replayed"), ("replayed", "accepted")]
    for row, (some, none) in zip(reject["rows"], kinds, strict=True):
        assert row[f"{some}_per_s"] > 0
        assert row[f"{none}_per_s"] == 0
    assert [row["name"] for row in open_loop["rows"]] == ["50 % of the peak", "80 % of the peak"]
    machine = report["machine"]
    assert isinstance(machine, dict)
    assert machine["cores"] >= 1
    assert machine["versions"]["valkey"]
    assert {file.name for file in tmp_path.iterdir()} == {
        "report.json",
        "tables.md",
        "reject-1.svg",
        "open-loop-1.svg",
    }
    assert "![" in (tmp_path / "tables.md").read_text("utf-8")


def test_memory_falls_when_the_ledger_has_the_orders(capsys: pytest.CaptureFixture[str]) -> None:
    sections = _bench(capsys, "memory")["sections"]
    assert isinstance(sections, list)
    (chart,) = sections[0]["charts"]
    waiting, kept = chart["series"].values()
    assert all(0 < after < before for before, after in zip(waiting, kept, strict=True))


@pytest.mark.slow
def test_costs_are_the_orders_and_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    sections = _bench(capsys, "costs")["sections"]
    assert isinstance(sections, list)
    rows = {row["name"]: row for row in sections[0]["rows"]}
    assert rows["engine, 512 callers"]["orders_a_call"] > rows["engine, 16 callers"]["orders_a_call"] >= 1
    for batch in (1, 16, 256):
        sales, noes = (rows[f"shard, {what}, {batch} a call"] for what in ("sales", "noes"))
        assert sales["orders_a_call"] == noes["orders_a_call"] == batch
        assert sales["accepted_per_s"] > 0 == sales["rejected_per_s"]
        assert noes["rejected_per_s"] > 0 == noes["accepted_per_s"]
    assert [figure["unit"] for figure in sections[0]["figures"]] == ["µs"] * 6 + ["ms"]


@pytest.mark.slow
def test_a_broker_that_does_not_answer_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = ["--rabbitmq", "amqp://127.0.0.1:1", "--nats", "nats://127.0.0.1:1"]
    sections = _bench(capsys, "brokers", *nowhere)["sections"]
    assert isinstance(sections, list)
    assert [row["name"] for row in sections[0]["rows"]] == ["streams"]
    assert sections[0]["rows"][0]["accepted_per_s"] > 0
    assert sum("left out" in note for note in sections[0]["notes"]) == 2


@pytest.mark.slow
def test_masters_are_measured_apart_from_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    sections = _bench(capsys, "masters")["sections"]
    assert isinstance(sections, list)
    rows = sections[0]["rows"]
    for row in rows:
        assert row["accepted_per_s"] > 0, row["name"]
        assert row["orders_a_call"] >= 1, row["name"]
        assert "replicas" in row["name"] or row["replica_per_million"] == 0, row["name"]
    # In all: a tick of the system's CPU clock may be more than a short round uses.
    assert sum(row["server_per_million"] for row in rows) > 0
    assert sum(row["replica_per_million"] for row in rows) > 0
    figures = {figure["name"]: figure["value"] for figure in sections[0]["figures"]}
    assert len([name for name in figures if name.startswith("CPU of")]) == 8
    stalls = [value for name, value in figures.items() if "did not sell" in name]
    assert len(stalls) == 1
    assert stalls[0] > 0


def test_a_drain_is_judged_by_the_bulk_insert_and_its_fall() -> None:
    sizes = [0, 10, 100]
    worker, plain = dict(zip(sizes, (60, 50, 40), strict=True)), dict(zip(sizes, (100, 90, 81), strict=True))
    per_s = {("worker", size): worker[size] / 1.0 for size in sizes}
    per_s |= {("bulk insert", size): plain[size] / 1.0 for size in sizes}
    figures = {figure.name: figure for figure in judge("sqlite", sizes, per_s)}
    assert len(figures) == 9
    halves = [figures[f"worker to bulk insert, sqlite, table of {size}"] for size in sizes]
    assert [half.met for half in halves] == [True, True, False]
    fall = "what the worker keeps to what the bulk insert keeps, sqlite"
    assert figures[f"{fall}, 0 to 10 rows"].met is None
    assert figures[f"{fall}, 10 to 100 rows"].value == pytest.approx(0.8 / 0.9)
    assert figures[f"{fall}, 10 to 100 rows"].met is False


@pytest.mark.parametrize("arguments", [["bench", "no-such-section"], ["bench", "--rounds", "0"]])
def test_bad_arguments_are_usage_errors(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith("hotsku: error: ")


def test_a_row_shows_the_medians_of_its_rounds() -> None:
    rounds = [Measured(seconds=2, accepted=count, rejected=10, p99_ms=count / 10) for count in (200, 20, 100)]
    row = Row(name="a side", rounds=rounds).summed_up()
    assert (row.accepted_per_s, row.rejected_per_s, row.replayed_per_s, row.p99_ms) == (50, 5, 0, 10)


def test_a_figure_knows_whether_it_met_its_target() -> None:
    assert ratio("x", 30, 2, least=15).met is True
    assert Figure(name="p99", value=11, most=10).met is False
    assert Figure(name="p99", value=11, most=10).target == "≤ 10"
    assert Figure(name="peak", value=11).met is None


@pytest.mark.anyio
async def test_every_caller_is_heard_however_short_a_round_is() -> None:
    async def call(_: int) -> Answer:
        return Answer.ACCEPTED

    assert (await closed_loop(SystemClock(), call, callers=3, seconds=0)).accepted == 3


def test_percentiles_of_few_values() -> None:
    assert percentile([], 99) == 0
    assert percentile([1.0, 2.0, 3.0], 50) == 2
    assert percentile([1.0, 2.0, 3.0], 99) == 3


def test_the_histogram_has_every_request_in_one_bar() -> None:
    chart = histogram({"a": [1.0, 1.01, 8.0, 100.0], "b": []})
    assert sum(value or 0 for value in chart.series["a"]) == pytest.approx(100)
    assert len(chart.labels) == len(chart.series["a"]) == len(chart.series["b"])


def test_a_chart_is_svg_that_asks_nobody_for_anything() -> None:
    drawn = render(Chart(title="t <&>", labels=["x", "y"], series={"s": [1.0, None]}, log=True), "locks-1.svg")
    assert drawn.startswith(b"<svg")
    assert b"t &lt;&amp;&gt;" in drawn
    assert b"<script" not in drawn
    assert b"@import" not in drawn
    assert render(Chart(title="t", labels=["x"], series={"s": [1.0]}), "a") == render(
        Chart(title="t", labels=["x"], series={"s": [1.0]}), "a"
    )

"""What a sale needs: the sizes hang together, and the command says them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hotsku.cli.main import run
from hotsku.domain.capacity import MEASURED_BY, Constants, Sale
from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import SLOTS, point_of, slot_of_point
from hotsku.domain.sizing import size
from hotsku.domain.spread import fullest

SALE = Sale(buyers=100_000_000, stock=1_000_000, seconds=60)


@given(st.integers(1, 200), st.integers(1, 48))
def test_the_fullest_master_is_found(partitions: int, masters: int) -> None:
    worst = 0
    for item_id in range(48):
        count = [0] * masters
        for number in range(partitions):
            count[slot_of_point(point_of(PartitionRef(item_id, number))) * masters // SLOTS] += 1
        worst = max(worst, *count)
    assert fullest(partitions, masters) == worst


def test_a_sale_of_100_million_buyers() -> None:
    needs = size(SALE, Constants())
    assert not needs.warnings
    assert needs.requests_per_s == 1_750_000
    assert needs.sold_s == pytest.approx(0.6)
    assert needs.partitions >= needs.shards
    assert needs.bottleneck == "gateways"
    assert max(needs.sales.p99_ms, needs.noes.p99_ms) <= Constants().p99_ms


@given(
    buyers=st.integers(1, 10**9),
    stock=st.integers(1, 10**8),
    seconds=st.floats(1, 3600),
    partitions=st.none() | st.integers(1, 200),
)
def test_what_is_said_hangs_together(buyers: int, stock: int, seconds: float, partitions: int | None) -> None:
    sale = Sale(buyers=buyers, stock=stock, seconds=seconds)
    needs = size(sale, Constants(), partitions)
    assert 1 <= needs.shards <= 48
    assert needs.partitions == partitions or partitions is None
    assert 0 <= (needs.first_lease + needs.second_lease) * needs.partitions <= stock
    assert needs.sold_s <= needs.ledger_s
    assert needs.broker_s <= needs.ledger_s
    assert needs.memory_mib[0] >= needs.memory_mib[1] >= 0
    assert needs.sales.p99_ms <= Constants().p99_ms or needs.warnings


@pytest.mark.parametrize("change", [{"sale_us": 6.0}, {"sale_call_us": 140.0}, {"gateway_us": 300.0}, {"p99_ms": 40.0}])
def test_what_costs_more_needs_more(change: dict[str, float]) -> None:
    cheap, dear = size(SALE, Constants(), 24), size(SALE, replace(Constants(), **change), 24)
    assert (dear.shards, dear.gateways) > (cheap.shards, cheap.gateways)


def test_more_than_an_item_can_be_spread_over_is_said() -> None:
    needs = size(replace(SALE, seconds=1.0), Constants())
    assert any("the most that share an item" in warning for warning in needs.warnings)


def test_a_ledger_that_is_too_slow_is_said() -> None:
    sale = Sale(buyers=100_000_000, stock=100_000_000, seconds=60)
    needs = size(sale, Constants(ledger_per_s=1_000), 12)
    assert any("details of a partition wait" in warning for warning in needs.warnings)


def test_too_little_stock_to_share_out_is_said() -> None:
    needs = size(Sale(buyers=1000, stock=10, seconds=10), Constants(), 8)
    assert any("fewer units" in warning for warning in needs.warnings)


def test_every_constant_says_how_it_was_measured() -> None:
    assert list(MEASURED_BY) == list(Constants.__struct_fields__)


def test_the_command_says_it_and_plays_it(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["capacity", "--buyers", "1000000", "--stock", "10000", "--seconds", "30", "--simulate", "--json"]
    assert run(line) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["needs"]["requests_per_s"] == 35_000
    assert report["model_holds"] is True
    assert report["simulated"]["sales"]["orders"] > 10_000


def test_the_command_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "--buyers", "1000", "--stock", "100", "--constant", "sync_ms=1.5"]) == 0
    shown = capsys.readouterr().out
    for word in ("gateway processes", "the fullest shard", "hotsku bench costs", "1.5"):
        assert word in shown


def test_what_cannot_be_done_is_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "--seconds", "1", "--simulate"]) == 1
    assert "the most that share an item" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--buyers", "0"],
        ["--seconds", "nan"],
        ["--seconds", "inf"],
        ["--stock", "2", "--quantity", "3"],
        ["--constant", "no_such=1"],
        ["--constant", "sale_us"],
        ["--constant", "sale_us=0"],
        ["--constant", "sale_us=nan"],
        ["--constant", "sale_us=many"],
        ["--constant", "load=1.5"],
    ],
)
def test_bad_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", *arguments]) == 2
    assert capsys.readouterr().err.startswith("hotsku: error: ")

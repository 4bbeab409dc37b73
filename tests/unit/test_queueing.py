"""The formulas of the capacity model against the same played through, and the play against itself."""

import pytest
from msgspec.structs import replace

from hotsku.cli.capacity.simulation import SETTLED_S, Answers, Simulated, Simulation
from hotsku.domain.queueing import NEVER, Load, Steady, steady

# A shard of a cluster of 12 under a rush, and 150 gateways.
RUSH = Load(
    per_s=145_000,
    gateways=150,
    partitions=1,
    order_us=2.5,
    call_us=35,
    sync_ms=0.3,
    travel_ms=0.3,
    copied_ms=0,
    gateway_us=60,
    gateway_call_us=40,
    gateway_busy=0.6,
)
# One process with its own server, as in `hotsku bench open-loop`.
ALONE = replace(
    RUSH, per_s=60_000, gateways=1, partitions=8, gateway_us=8, travel_ms=0.05, gateway_busy=0.0, gateway_call_us=30
)
LOADS = {
    "a rush": RUSH,
    "less of it": replace(RUSH, per_s=20_000),
    "a slow disk": replace(RUSH, sync_ms=3),
    "replicas": replace(RUSH, copied_ms=1),
    "4 partitions": replace(RUSH, per_s=70_000, partitions=4),
    "noes": replace(RUSH, order_us=1, call_us=15, sync_ms=0),
    "few noes": replace(RUSH, per_s=20_000, order_us=1, call_us=15, sync_ms=0),
    "one gateway": ALONE,
    "one gateway, idle": replace(ALONE, per_s=500),
}


def play(load: Load, seconds: float = 1.0, seed: int = 1) -> Simulated:
    """A shard that never sells out."""
    return Simulation(load, load, 10**9, seed).run(seconds)


@pytest.mark.parametrize("name", LOADS)
def test_the_play_goes_as_the_formulas_say(name: str) -> None:
    foreseen, seen = steady(LOADS[name]), play(LOADS[name]).sales
    assert seen.cpu == pytest.approx(foreseen.cpu, abs=0.06)
    assert seen.orders_a_call == pytest.approx(foreseen.orders_a_call, rel=0.2)
    assert seen.p50_ms == pytest.approx(foreseen.p50_ms, rel=0.25)
    assert 0.6 < seen.p99_ms / foreseen.p99_ms < 1.6


def test_the_same_seed_plays_the_same() -> None:
    assert play(RUSH, 0.1) == play(RUSH, 0.1)
    assert play(RUSH, 0.1) != play(RUSH, 0.1, seed=2)


def test_every_order_is_answered_and_the_stock_is_sold() -> None:
    noes = replace(RUSH, order_us=1, call_us=15, sync_ms=0)
    seen = Simulation(RUSH, noes, 20_000, 1).run(0.5)
    assert seen.sold_s is not None
    assert seen.sold_s == pytest.approx(20_000 / RUSH.per_s, rel=0.2)
    # The last sales may share a call with the first noes.
    assert 20_000 <= seen.sales.orders < 20_000 + RUSH.gateways * seen.sales.orders_a_call * 2
    assert seen.noes.orders == pytest.approx(RUSH.per_s * (0.5 - seen.sold_s - SETTLED_S), rel=0.05)


def test_nothing_is_quicker_than_the_way_and_the_sync() -> None:
    seen = play(replace(ALONE, per_s=100))
    assert seen.sales.p50_ms > ALONE.travel_ms + ALONE.sync_ms


def test_a_no_waits_for_no_sync() -> None:
    noes = Simulation(ALONE, replace(ALONE, sync_ms=0), 0, 1).run(0.2)
    assert noes.sales.orders == 0
    assert noes.sold_s is None
    assert noes.noes.p50_ms < play(ALONE, 0.2).sales.p50_ms


def test_more_than_the_shard_can_do_never_comes_to_rest() -> None:
    assert steady(replace(RUSH, per_s=1e6 / RUSH.order_us)) == NEVER
    assert steady(replace(ALONE, per_s=1e6 / ALONE.gateway_us)) == NEVER


def test_batches_grow_with_the_load() -> None:
    """That is why a busy shard does not collapse: its calls get fewer."""
    rates = [20_000, 70_000, 145_000, 250_000]
    found: list[Steady] = [steady(replace(RUSH, per_s=rate)) for rate in rates]
    sizes = [each.orders_a_call for each in found]
    assert sizes == sorted(sizes)
    assert all(each.cpu < 1 for each in found)
    played: list[Answers] = [play(replace(RUSH, per_s=rate), 0.3).sales for rate in rates]
    sizes = [each.orders_a_call for each in played]
    assert sizes == sorted(sizes)

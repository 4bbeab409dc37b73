"""Random faults while a shop sells on a cluster: servers, workers, engines, broker and ledger fail in any order. What
was acknowledged is sold once, nothing is sold twice or beyond the total, and when the faults end all heals.

The seed is printed; HOTSKU_CHAOS_SEEDS names others (`17`, `1-50`), HOTSKU_CHAOS_SECONDS how long each schedule lasts.
"""

import asyncio
import os
from pathlib import Path
from random import Random

import pytest
from tests.support.chaos_shop import ChaosShop, open_chaos_shop
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.schedule import Schedule

from hotsku.settings import Settings
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.shard.launcher import DurabilityMode

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TOTAL = 6_000
PARTITIONS = 9
SECONDS = float(os.environ.get("HOTSKU_CHAOS_SECONDS", "6"))
# What must heal, heals within this, on a machine that does other things as well.
BOUND_S = 75.0


def _seeds() -> list[int]:
    first, _, last = os.environ.get("HOTSKU_CHAOS_SEEDS", "7").partition("-")
    return list(range(int(first), int(last or first) + 1))


async def _play(cluster: LocalCluster, folder: Path, seed: int, durability: DurabilityMode) -> None:
    print(f"seed {seed}, {durability}")
    forgets = durability == "fast"
    settings = Settings(
        shard_url=cluster.url,
        ledger_url=f"sqlite:///{folder}/ledger.db",
        namespace=f"c{seed}",
        durability=durability,
        shard_timeout_ms=1_500,
        relay_max_events=100,
    )
    async with open_chaos_shop(settings, Random(seed)) as shop:
        await shop.open(TOTAL, PARTITIONS)
        schedule = Schedule(cluster, shop, Random(seed), PARTITIONS, stale=forgets)
        done = asyncio.Event()
        sale = asyncio.create_task(shop.sell(done, pause_s=0.07))
        try:
            await schedule.run(SECONDS)
        finally:
            done.set()
            await schedule.heal()
        print(f"  healed; {len(shop.buyers.accepted)} orders accepted")
        async with asyncio.timeout(BOUND_S):
            await sale
        await shop.until_open(BOUND_S)
        async with asyncio.timeout(BOUND_S):
            await shop.sell(asyncio.Event(), pause_s=0)
        await _check(shop, forgets=forgets)


async def _check(shop: ChaosShop, *, forgets: bool) -> None:
    await shop.settled(BOUND_S)
    rows = await shop.rows(TOTAL)
    shop.buyers.check(rows, TOTAL, forgets=forgets)
    sold = sum(row.quantity for row in rows)
    assert sold > TOTAL - 3, f"{TOTAL - sold} units are unsold"  # an order may want three
    for order_id in Random(0).sample(sorted(shop.buyers.accepted), 50):
        if not forgets:
            assert (await shop._order(order_id)).replayed
    assert not shop.died, f"roles failed: {shop.died}"


@pytest.mark.timeout(SECONDS + 5 * BOUND_S)
@pytest.mark.parametrize("durability", os.environ.get("HOTSKU_CHAOS_DURABILITY", "durable").split(","))
@pytest.mark.parametrize("seed", _seeds())
async def test_whatever_fails_every_unit_is_sold_once(tmp_path: Path, seed: int, durability: DurabilityMode) -> None:
    with running_cluster(ClusterSpec(durability=durability)) as cluster:
        await _play(cluster, tmp_path, seed, durability)

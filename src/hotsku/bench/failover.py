"""What buyers feel when a master is killed: how long the partitions that it had do not sell."""

import asyncio
from pathlib import Path

from hotsku.bench.clusters import open_cluster_shop
from hotsku.bench.report import Figure
from hotsku.bench.rounds import Plan
from hotsku.bench.selling import new_item
from hotsku.bench.servers import Shop
from hotsku.domain.deduction import Outcome
from hotsku.errors import HotSKUError

_PER_S = 2_000
_PARTITIONS = 12
_STOCK = 1_000_000
_BEFORE_S, _AFTER_S, _MOST_S = 1.0, 1.0, 60.0
_TICK_S, _POLL_S = 0.002, 0.05


class Watched:
    """When each partition sold, and how often it told buyers to try again."""

    def __init__(self) -> None:
        self.sold_ms: dict[int, list[float]] = {number: [] for number in range(_PARTITIONS)}
        self.faults = 0

    def last_ms(self, partition: int) -> float:
        """When the partition sold last; 0 where it never did."""
        return self.sold_ms[partition][-1] if self.sold_ms[partition] else 0.0

    def longest_ms(self, partitions: set[int]) -> float:
        """The longest time that one of the partitions did not sell."""
        gaps = (
            later - earlier
            for number in partitions
            for earlier, later in zip(self.sold_ms[number], self.sold_ms[number][1:], strict=False)
        )
        return max(gaps, default=0.0)


async def failover_figures(plan: Plan, folder: Path) -> list[Figure]:
    """kill -9 of one of 3 masters with a replica each, while buyers come at a fixed rate and workers run."""
    async with open_cluster_shop(plan.settings, folder, 3, 1) as (shop, cluster), shop.working():
        sku = await new_item(shop, _PARTITIONS, _STOCK)
        views = await shop.stock.partitions(sku)
        victim = next(node for node in cluster.nodes if node.address == views[0].shard)
        lost = {view.partition for view in views if view.shard == victim.address}
        watched, done = Watched(), asyncio.Event()
        timeout_ms = cluster.spec.node_timeout_ms

        async def disturb() -> None:
            try:
                while not (await shop.stock.item(sku)).sold:  # noqa: ASYNC110 - the workers have begun to work
                    await asyncio.sleep(_POLL_S)
                await asyncio.sleep(_BEFORE_S)
                victim.kill()
                # No replica takes over sooner; what was on its way may still be heard of until then.
                since_ms = plan.clock.monotonic_ms() + timeout_ms / 2
                async with asyncio.timeout(_MOST_S):
                    while not all(watched.last_ms(number) > since_ms for number in lost):  # noqa: ASYNC110
                        await asyncio.sleep(_TICK_S)
                await asyncio.sleep(_AFTER_S)
            finally:
                done.set()

        await asyncio.gather(_buyers(plan, shop, sku, watched, done), disturb())
    return [
        Figure(
            name=f"kill -9 of a master: its partitions did not sell for (node timeout {timeout_ms / 1000:g} s)",
            value=watched.longest_ms(lost) / 1000,
            unit="s",
        ),
        Figure(
            name="kill -9 of a master: longest pause of the partitions of the others",
            value=watched.longest_ms(set(watched.sold_ms) - lost),
            unit="ms",
        ),
        Figure(name=f"kill -9 of a master: buyers told to try again, of {_PER_S:,}/s", value=watched.faults),
    ]


async def _buyers(plan: Plan, shop: Shop, sku: str, watched: Watched, done: asyncio.Event) -> None:
    """New buyers at a fixed rate until it is done; those of a tick come together."""

    async def buy(number: int) -> None:
        try:
            sale = await shop.stock.deduct(sku, 1, order_id=f"o{number:011d}", buyer_id=f"b{number:011d}")
        except HotSKUError:
            watched.faults += 1
            return
        if sale.outcome is Outcome.ACCEPTED and sale.partition is not None:
            watched.sold_ms[sale.partition].append(plan.clock.monotonic_ms())

    start_ms, begun = plan.clock.monotonic_ms(), 0
    async with asyncio.TaskGroup() as group:
        while not done.is_set():
            due = int((plan.clock.monotonic_ms() - start_ms) * _PER_S / 1000)
            for number in range(begun, due):
                group.create_task(buy(number))
            begun = due
            await asyncio.sleep(_TICK_S)

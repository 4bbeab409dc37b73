"""A sale on a master that sentinels watch over: a replica takes over in the middle, every unit is sold once."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.sentinel import LocalSentinel
from tests.support.shop import TOTAL, open_shop

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Event = Callable[[LocalSentinel], Awaitable[None]]


async def _failover(sentinel: LocalSentinel) -> None:
    await sentinel.failover()
    await sentinel.rejoin()


async def _crash(sentinel: LocalSentinel) -> None:
    """The old master comes back as the replica; until then nothing is acknowledged, for it is a copy that may."""
    await sentinel.crash_failover()
    await sentinel.rejoin()


@pytest.mark.parametrize("happens", [_failover, _crash], ids=lambda each: each.__name__[1:])
async def test_every_unit_is_sold_once(module_sentinel: LocalSentinel, tmp_path: Path, happens: Event) -> None:
    async with open_shop(module_sentinel.url, tmp_path) as shop:
        await shop.engines[0].create_item("sku", TOTAL, partitions=4)
        await shop.sell_while(lambda: happens(module_sentinel))

"""Random losses of a shard's memory while a partition is rebuilt, by two recoverers that die at any point: what the
ledger knows is on the shard again, record by record, and every unit is accounted for.

The seed is printed; HOTSKU_CHAOS_SEEDS names others (`17`, `1-50`), HOTSKU_CHAOS_SECONDS how long each schedule lasts.
"""

import asyncio
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec
import pytest
from redis.exceptions import RedisError
from tests.support import one_batch
from tests.support.ledger import spec
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import order_field
from hotsku.errors import BackendUnavailable
from hotsku.ports import Fenced, Grant, Late, Lost, Stale
from hotsku.stocking import lease_and_install, open_item
from hotsku.workers.auditor import Auditor
from hotsku.workers.loop import WorkerLoop

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SECONDS = float(os.environ.get("HOTSKU_CHAOS_SECONDS", "6"))
TOTAL = 60_000
BUYERS = 1_500
_NOT_NOW = (Fenced, Stale, Lost, Late, BackendUnavailable, RedisError, OSError)


def _seeds() -> list[int]:
    first, _, last = os.environ.get("HOTSKU_CHAOS_SEEDS", "3").partition("-")
    return list(range(int(first), int(last or first) + 1))


class Losses:
    """A partition that sells, and loses its memory in every way that there is."""

    def __init__(self, stack: Stack, item: Item, random: Random) -> None:
        self.stack = stack
        self.ref = PartitionRef(item.id, 0)
        self.random = random
        self._keys = stack.keys.partition(self.ref)
        self._old: dict[str, bytes] = {}
        self._orders = 0
        self._recoverers: list[WorkerLoop] = []

    async def sell(self) -> None:
        """Some hundred orders, if it sells now; first stock, if it needs some. What it had before is remembered."""
        if self.random.random() < 0.3:
            keys = (self._keys.meta, self._keys.orders, self._keys.buyers, self._keys.stream)
            self._old = {key: found for key in keys if (found := await self.stack.client.dump(key))}
        row = await self.stack.ledger.partition(self.ref)
        assert row is not None
        if row.lease_no == 0 and row.state == "open":
            grant = Grant(self.ref, row.incarnation, 0, 2_000)
            await lease_and_install(self.stack.ledger, self.stack.shard, self.stack.clock, [grant])
        numbers = range(self._orders, self._orders + self.random.choice((1, 700)))
        self._orders = numbers.stop
        packed = [part for n in numbers for part in (order_field(f"o-{n}", f"b-{n % BUYERS}"), 1)]
        await one_batch.deduct(self.stack.shard, self.ref, row.incarnation, msgspec.msgpack.encode(packed))

    async def lose(self, what: str = "") -> None:
        """Something that unarms, empties or sets back the partition."""
        keys = (self._keys.meta, self._keys.orders, self._keys.buyers, self._keys.stream)
        what = what or self.random.choice(("restart", "restart", "flush", "delete", "back", "back"))
        row = await self.stack.ledger.partition(self.ref)
        print(f"  {what}", flush=True)
        match what:
            case "restart":
                if row is not None and self.random.random() < 0.6:  # else it goes on under its incarnation
                    await self.stack.ledger.mark_fast(self.ref, row.incarnation)
                self.stack.server.restart()
            case "flush":
                await self.stack.client.flushall()
            case "delete":
                every = self._keys.all()
                gone = self.random.sample(every, self.random.randint(1, len(every)))
                print(f"    {gone}", flush=True)
                await self.stack.client.delete(*gone)
            case "back" if self._old:
                await self.stack.client.delete(*keys)
                for key, dumped in self._old.items():
                    await self.stack.client.restore(key, 0, dumped)
            case _:
                pass

    async def recoverers(self) -> None:
        """Those that are at work die, wherever they are; two others begin."""
        for loop in self._recoverers:
            await loop.stop()
        self._recoverers = [
            self.stack.run(self.stack.new_recoverer(interval_ms=5, lost_after_ms=0, quarantine_ms=200))
            for _ in range(2)
        ]


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("seed", _seeds())
async def test_what_the_ledger_knows_is_on_the_shard_again(valkey: TestServer, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    random = Random(seed)
    async with open_stack(valkey, tmp_path) as stack:
        wanted = spec(total=TOTAL, partitions=1, limit_per_buyer=1_000)
        item = (await stack.ledger.create_item(wanted, "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, item)
        losses = Losses(stack, item, random)
        stack.run(stack.new_relay(), stack.new_applier())
        end = asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < end:
            with suppress(*_NOT_NOW):
                await random.choice((losses.sell, losses.sell, losses.sell, losses.lose, losses.recoverers))()
            await asyncio.sleep(random.choice((0, 0.005, 0.02, 0.1, 0.4)))
        await losses.recoverers()
        await _come_to_rest(stack, item)
        for _ in range(3):
            with suppress(*_NOT_NOW):
                await losses.sell()
        await losses.lose("back")
        await _come_to_rest(stack, item)
        await _compare(stack, item)


async def _come_to_rest(stack: Stack, item: Item) -> None:
    try:
        await until(lambda: _at_rest(stack, item), 60)
    except TimeoutError:
        print(f"  {(await Auditor(stack.ledger, stack.shard).audit()).problems}", flush=True)
        raise


async def _at_rest(stack: Stack, item: Item) -> bool:
    with suppress(*_NOT_NOW):
        row = await stack.row(item)
        rows = await stack.ledger.partitions(item.id)
        if row.state == "open" and not any(each.quarantined_until_ms for each in rows):
            report = await Auditor(stack.ledger, stack.shard).audit()
            # These recoverers do not wait for what is on its way (`lost_after_ms`): a message that comes after they
            # have ended its incarnation is beyond the end of it, and parked for a person.
            return report.at_rest and {each.name for each in report.problems} <= {"parked"}
    return False


async def _compare(stack: Stack, item: Item) -> None:
    rows = await stack.ledger.details(item.id, None, TOTAL + 1)
    assert len({row.order_id for row in rows}) == len(rows)
    assert sum(row.quantity for row in rows) <= TOTAL
    ref = PartitionRef(item.id, 0)
    for row in rows:
        record, _ = await stack.shard.order(ref, order_field(row.order_id, row.buyer_id))
        assert record is not None
        assert (record.quantity, record.incarnation, record.seq) == (row.quantity, row.incarnation, row.seq)
    assert (await stack.status(item)).orders == len(rows)
    bought = Counter(row.buyer_id for row in rows)
    assert sorted(await stack.shard.bought(ref)) == sorted(bought.values())
    print(f"  {len(rows)} orders, incarnation {(await stack.row(item)).incarnation}")

"""The seed example, told in docs/seed-example.md with the same numbers: 10,000 units; lease 400; a message applies 30;
lease 100. Then the pool has 9,500, pre-allocated are 470, actual stock is 9,970, sold are 30.

Every part is the real one: shard scripts, ledger, relay, broker, applier.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.ledger import spec
from tests.support.servers import TestServer
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.events import PartitionRef, decode_message
from hotsku.domain.item import Item, Standing
from hotsku.ports import Grant
from hotsku.stocking import lease_and_install
from hotsku.workers.auditor import Auditor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(module_valkey, tmp_path) as made:
        yield made


async def test_the_seed_example(stack: Stack) -> None:
    item = (await stack.ledger.create_item(spec(total=10_000), "durable", stack.clock.now_ms())).item
    ref = PartitionRef(item.id, 0)
    await stack.shard.begin(ref, 1, item, await stack.shard.memory(ref))
    await stack.ledger.open_partition(ref, 1)
    assert await _figures(stack, item) == Standing(total=10_000, pool=10_000, preallocated=0, sold=0)

    await _lease(stack, item, 400)
    assert await _figures(stack, item) == Standing(total=10_000, pool=9_600, preallocated=400, sold=0)
    assert await _left(stack, item) == 400

    await stack.sell(item, 30)
    assert await _left(stack, item) == 370  # the shard has sold them, the ledger does not know it yet
    assert await _figures(stack, item) == Standing(total=10_000, pool=9_600, preallocated=400, sold=0)

    stack.run(stack.new_relay(), stack.new_applier())
    await until(lambda: _sold(stack, item, 30))
    assert [_sequence(body) for body in await stack.topic()] == [(1, 30)]  # one message, thirty events
    assert await _figures(stack, item) == Standing(total=10_000, pool=9_600, preallocated=370, sold=30)

    await _lease(stack, item, 100)
    figures = await _figures(stack, item)
    assert figures == Standing(total=10_000, pool=9_500, preallocated=470, sold=30)
    assert figures.actual == 9_970
    assert await _left(stack, item) == 470

    await until(lambda: _trimmed(stack, item, 30))  # then nothing moves any more
    report = await Auditor(stack.ledger, stack.shard).audit(item.id)
    assert report.ok, report.problems
    assert report.at_rest


async def _lease(stack: Stack, item: Item, quantity: int) -> None:
    """One lease, made in the ledger and installed on the shard, as the replenisher does it."""
    row = await stack.row(item)
    grant = Grant(row.ref, row.incarnation, row.lease_no, quantity)
    assert await lease_and_install(stack.ledger, stack.shard, stack.clock, [grant]) is not None


async def _figures(stack: Stack, item: Item) -> Standing:
    return await stack.ledger.standing(item.id)


async def _left(stack: Stack, item: Item) -> int:
    """What both buckets hold."""
    return (await stack.status(item)).left


async def _sold(stack: Stack, item: Item, units: int) -> bool:
    return (await _figures(stack, item)).sold == units


async def _trimmed(stack: Stack, item: Item, through_seq: int) -> bool:
    return (await stack.status(item)).trimmed == through_seq


def _sequence(body: bytes) -> tuple[int, int]:
    message = decode_message(body)
    return message.first_seq, message.last_seq

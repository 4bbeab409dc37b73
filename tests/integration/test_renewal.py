"""New incarnations: what is lost heals, what was sold stays sold, and what may have been forgotten is not sold again
before its time."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.cluster import LocalCluster
from tests.support.ledger import spec
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

import hotsku
from hotsku import Outcome
from hotsku.app import recover
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import order_field
from hotsku.ports import Stale
from hotsku.settings import Settings
from hotsku.stocking import open_item
from hotsku.workers.auditor import Auditor

pytestmark = pytest.mark.anyio

_FAR_MS = 10**14


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


async def _limited(stack: Stack, limit: int | None = None) -> Item:
    item = await stack.ledger.create_item(spec(total=10_000, partitions=1, limit_per_buyer=limit), "durable", 0)
    await open_item(stack.ledger, stack.shard, stack.clock, item)
    return item


async def _ask(stack: Stack, item: Item, incarnation: int, *orders: tuple[str, str, int]) -> str:
    """The codes of (order, buyer, quantity) each."""
    packed = msgspec.msgpack.encode([part for o, b, q in orders for part in (order_field(o, b), q)])
    return (await stack.shard.deduct(PartitionRef(item.id, 0), incarnation, _FAR_MS, True, packed)).codes


async def _open_as(stack: Stack, item: Item, incarnation: int) -> bool:
    row = await stack.row(item)
    return (row.incarnation, row.state) == (incarnation, "open")


async def _recover(stack: Stack, item: Item, incarnation: int = 2) -> None:
    """Run every role until the partition is open under the incarnation."""
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_recoverer(lost_after_ms=0))
    await until(lambda: _open_as(stack, item, incarnation))


@pytest.mark.parametrize("loss", ["everything", "the partition", "back in time"])
async def test_lost_sales_of_which_the_ledger_knows_stay_sold(stack: Stack, loss: str) -> None:
    item = await _limited(stack, limit=10)
    orders = [(f"o-{n}", f"b-{n % 7}", 1) for n in range(50)]
    assert await _ask(stack, item, 1, *orders) == "A" * 50
    keys = stack.keys.partition(PartitionRef(item.id, 0))
    early = {key: await stack.client.dump(key) or b"" for key in (keys.meta, keys.orders, keys.buyers, keys.stream)}
    assert await _ask(stack, item, 1, *((f"p-{n}", "b-0", 1) for n in range(2))) == "AA"
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(10_000) == []
    await loop.stop()
    match loss:
        case "everything":
            await stack.client.flushall()
        case "the partition":
            await stack.client.delete(*early)
        case "back in time":
            for key, dumped in early.items():
                await stack.client.restore(key, 0, dumped, replace=True)
    await _recover(stack, item)
    # The first answers, from orders that came back from the ledger; the limits count them.
    assert await _ask(stack, item, 2, *orders) == "R" * 50
    assert await _ask(stack, item, 2, ("p-0", "b-0", 1), ("p-1", "b-0", 2), ("new", "b-0", 1)) == "RXL"
    with pytest.raises(Stale):
        await _ask(stack, item, 1, orders[0])
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.quarantined) == (52, standing.preallocated)
    assert standing.quarantined > 0, "nobody knows what the shard sold besides"


async def test_the_units_of_a_quarantine_come_back_when_it_is_over(stack: Stack) -> None:
    item = await _limited(stack)
    await stack.client.flushall()
    stack.run(
        stack.new_relay(), stack.new_applier(), stack.new_recoverer(lost_after_ms=0, quarantine_ms=300, interval_ms=20)
    )
    await until(lambda: _open_as(stack, item, 2))

    async def all_back() -> bool:
        standing = await stack.ledger.standing(item.id)
        return (standing.pool, standing.quarantined) == (10_000, 0)

    await until(all_back)
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


async def test_the_rest_of_the_stream_is_salvaged(stack: Stack) -> None:
    """The shard restarts as a copy that nobody vouches for: what it has is taken over, all of it."""
    item = await _limited(stack)
    await _ask(stack, item, 1, *((f"o-{n}", "b", 2) for n in range(30)))
    await stack.ledger.mark_fast(PartitionRef(item.id, 0), 1)
    stack.server.restart()
    await _recover(stack, item)
    standing = await stack.ledger.standing(item.id)
    assert standing.sold == 60
    assert await _ask(stack, item, 2, *((f"o-{n}", "b", 2) for n in range(30))) == "R" * 30
    rows = await stack.ledger.partitions(item.id)
    assert [(row.state, row.final_seq, row.watermark) for row in rows] == [("closed", 30, 30), ("open", None, 0)]


async def test_a_hole_in_the_stream_ends_the_incarnation_there(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    item = await _limited(stack)
    for n in range(3):
        await _ask(stack, item, 1, (f"o-{n}", "b", 1))
    await stack.client.xdel(stack.keys.partition(PartitionRef(item.id, 0)).stream, "1-2")
    await _recover(stack, item)
    assert (await stack.ledger.standing(item.id)).sold == 1
    assert (await stack.ledger.partitions(item.id))[0].final_seq == 1
    assert any("events are missing from the stream" in record.getMessage() for record in caplog.records)
    assert await _ask(stack, item, 2, ("o-0", "b", 1)) == "R"


async def test_two_recoverers_and_restarts_in_the_middle(stack: Stack) -> None:
    item = await _limited(stack)
    await _ask(stack, item, 1, *((f"o-{n}", "b", 1) for n in range(200)))
    ref = PartitionRef(item.id, 0)
    stack.run(
        stack.new_relay(),
        stack.new_applier(),
        stack.new_recoverer(interval_ms=5, lost_after_ms=0),
        stack.new_recoverer(interval_ms=5, lost_after_ms=0),
    )
    for incarnation in range(2, 6):
        await stack.ledger.mark_fast(ref, incarnation - 1)
        stack.server.restart()
        await until(lambda wanted=incarnation: _open_as(stack, item, wanted))  # type: ignore[misc]
        assert await _ask(stack, item, incarnation, *((f"o-{n}", "b", 1) for n in range(200))) == "R" * 200
    assert (await stack.ledger.standing(item.id)).sold == 200


async def test_what_is_lost_waits_for_better_proof_first(stack: Stack) -> None:
    """The wrong files were there; the right ones come back in time."""
    item = await _limited(stack)
    await _ask(stack, item, 1, ("o-1", "b", 1))
    keys = stack.keys.partition(PartitionRef(item.id, 0))
    right = {key: await stack.client.dump(key) or b"" for key in (keys.meta, keys.orders, keys.stream)}
    await stack.client.delete(*right)
    stack.server.restart()
    await stack.client.connection_pool.disconnect()
    recoverer = stack.new_recoverer(lost_after_ms=NEVER_MS)
    await recoverer.look()
    assert (await stack.row(item)).state == "open"
    for key, dumped in right.items():
        await stack.client.restore(key, 0, dumped)
    await recoverer.look()
    assert (await stack.status(item)).armed
    assert await _ask(stack, item, 1, ("o-1", "b", 1)) == "R"


async def test_a_server_that_comes_back_empty_gets_the_library_again(cluster: LocalCluster, tmp_path: Path) -> None:
    """Its disk is gone: the ledger has what it knew, and the sale goes on there."""
    settings = Settings(
        shard_url=cluster.url, ledger_url=f"sqlite:///{tmp_path}/ledger.db", namespace="empty", relay_interval_ms=20
    )
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("sku", 300, partitions=3)
        for number in range(30):
            await stock.deduct("sku", order_id=f"o-{number}")
        await until(lambda: _sold(stock, 30))
        for node in await cluster.masters():
            async with node.client() as client:
                await client.flushall()
                await client.function_flush()
        assert await recover(settings)
        assert (await stock.deduct("sku", order_id="o-7")).replayed
        assert (await stock.deduct("sku", order_id="new")).outcome in (Outcome.ACCEPTED, Outcome.SOLD_OUT)
        assert (await stock.audit()).ok


async def _sold(stock: hotsku.Inventory, units: int) -> bool:
    return (await stock.item("sku")).sold == units

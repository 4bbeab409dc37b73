"""New incarnations: what is lost heals, what was sold stays sold, and what may have been forgotten is not sold again
before its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.support import one_batch
from tests.support.cluster import LocalCluster
from tests.support.ledger import spec
from tests.support.orders import Caller
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

import hotsku
from hotsku import Outcome
from hotsku.app import recover
from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.routing import order_field
from hotsku.ports import FencedReport, Grant, Lost, Needs, PartitionStatus, Stale
from hotsku.settings import Settings
from hotsku.shard.address import Address
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.shard.topology import OneServer
from hotsku.stocking import lease_and_install, open_item
from hotsku.workers.auditor import Auditor
from hotsku.workers.recoverer import Recoverer
from hotsku.workers.renewal import Renewal

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


async def _limited(stack: Stack, limit: int | None = None) -> Item:
    item = (await stack.ledger.create_item(spec(total=10_000, partitions=1, limit_per_buyer=limit), "durable", 0)).item
    await open_item(stack.ledger, stack.shard, stack.clock, item)
    return item


async def _ask(stack: Stack, item: Item, incarnation: int, *orders: tuple[str, str, int]) -> str:
    """The codes of (order, buyer, quantity) each."""
    packed = msgspec.msgpack.encode([part for o, b, q in orders for part in (order_field(o, b), q)])
    return (await one_batch.deduct(stack.shard, PartitionRef(item.id, 0), incarnation, packed)).codes


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
    assert await relay.drain(60_000) == []
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


@pytest.mark.parametrize("name", ["orders", "buyers", "holds"])
async def test_a_key_that_is_lost_alone_comes_back_from_the_ledger(stack: Stack, name: str) -> None:
    """Stream and ledger know every sale, so nothing waits in quarantine, and no order is sold a second time."""
    item = await _limited(stack, limit=10)
    caller = Caller(stack.ledger, stack.shard)
    assert await caller.hold(item, "h", quantity=2, buyer_id="b") == "A"
    assert await _ask(stack, item, 1, ("o-1", "b", 1), ("o-2", "c", 9)) == "AA"
    await stack.client.delete(getattr(stack.keys.partition(PartitionRef(item.id, 0)), name))
    await _recover(stack, item)
    assert await _ask(stack, item, 2, ("o-1", "b", 1), ("o-2", "c", 9), ("new", "b", 8)) == "RRL"
    assert (await stack.status(item)).holds == 1
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.held, standing.quarantined) == (10, 2, 0)
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


async def test_orders_that_are_lost_before_the_next_sale_are_not_kept(stack: Stack) -> None:
    """An incarnation that has sold nothing ends where it began: that the shard is there, too, says nothing of the
    orders of earlier ones."""
    item = await _limited(stack, limit=10)
    ref = PartitionRef(item.id, 0)
    assert await _ask(stack, item, 1, ("o-1", "b", 1)) == "A"
    await stack.ledger.mark_fast(ref, 1)
    stack.server.restart()
    stack.run(stack.new_relay(), stack.new_applier())
    recoverers = stack.run(stack.new_recoverer(lost_after_ms=0))
    await until(lambda: _open_as(stack, item, 2))
    await recoverers.stop()
    keys = stack.keys.partition(ref)
    await stack.client.delete(keys.orders, keys.buyers)
    await stack.ledger.mark_fast(ref, 2)
    stack.server.restart()
    stack.run(stack.new_recoverer(lost_after_ms=0))
    await until(lambda: _open_as(stack, item, 3))
    assert await _ask(stack, item, 3, ("o-1", "b", 1), ("new", "b", 10)) == "RL"
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


@pytest.mark.parametrize("armed", [True, False], ids=["and nobody buys", "after a restart"])
async def test_a_stream_that_is_gone_costs_nothing_where_the_ledger_has_all_of_it(stack: Stack, armed: bool) -> None:
    item = await _limited(stack)
    assert await _ask(stack, item, 1, *((f"o-{n}", "b", 1) for n in range(10))) == "A" * 10
    loop = stack.run(relay := stack.new_relay(), stack.new_applier())
    assert await relay.drain(60_000) == []
    await loop.stop()
    ref = PartitionRef(item.id, 0)
    if not armed:
        await stack.shard.disarm(ref, 1, seal=False)
    await stack.client.delete(stack.keys.partition(ref).stream)
    stack.run(stack.new_recoverer(lost_after_ms=NEVER_MS))
    await until(lambda: _open_as(stack, item, 2))
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems
    assert (await stack.ledger.standing(item.id)).quarantined == 0
    assert await _ask(stack, item, 2, *((f"o-{n}", "b", 1) for n in range(10))) == "R" * 10


@pytest.mark.parametrize("name", ["orders", "meta"])
async def test_a_key_of_another_kind_is_in_no_other_partitions_way(stack: Stack, name: str) -> None:
    """What is not a partition's key begins anew, but for the meta hash, which nobody but a person can judge."""
    spoilt, lost = await _two(stack)
    for item in (spoilt, lost):
        assert await _ask(stack, item, 1, ("o-1", "b", 1)) == "A"
    key = getattr(stack.keys.partition(PartitionRef(spoilt.id, 0)), name)
    await stack.client.delete(key, stack.keys.partition(PartitionRef(lost.id, 0)).orders)
    await stack.client.rpush(key, "whose?")
    await _recover(stack, lost)
    assert await _ask(stack, lost, 2, ("o-1", "b", 1)) == "R"
    if name == "orders":
        await until(lambda: _open_as(stack, spoilt, 2))
        assert await _ask(stack, spoilt, 2, ("o-1", "b", 1)) == "R"


async def _two(stack: Stack) -> list[Item]:
    items = []
    for sku in ("one", "two"):
        made = (await stack.ledger.create_item(spec(sku=sku, total=100, partitions=1), "durable", 0)).item
        await open_item(stack.ledger, stack.shard, stack.clock, made)
        items.append(made)
    return items


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


async def test_orders_come_back_with_their_whole_lives(stack: Stack) -> None:
    """Their states, times, payments and metadata; and holds whose end may have been put off by what is lost wait."""
    item = await _limited(stack, limit=100)
    caller = Caller(stack.ledger, stack.shard)
    names = ("held", "paying", "extended", "confirmed", "released", "refunded", "expired", "line")
    for name in names:
        ttl_ms = 1 if name == "expired" else 60_000
        assert await caller.hold(item, name, quantity=3, buyer_id="b", ttl_ms=ttl_ms, cart=name == "line") == "A"
    for verb, name, argument in (
        ("begin_payment", "paying", 1_000),
        ("extend", "extended", 10_000_000),
        ("confirm", "confirmed", "pay-1"),
        ("confirm", "refunded", "pay-2"),
        ("refund", "refunded", 2),
        ("release", "released", ""),
        ("confirm", "expired", "late"),
    ):
        assert await caller.step(item, verb, name, argument, "b") == ("N" if name == "expired" else "A")
    packed = msgspec.msgpack.encode([order_field("told", "b"), [2, "a gift", 0, 0]])
    assert (await one_batch.deduct(stack.shard, PartitionRef(item.id, 0), 1, packed)).codes == "A"
    before = {name: await caller.record(item, name, "b") for name in (*names, "told")}
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    await loop.stop()
    await stack.client.flushall()
    await _recover(stack, item)
    closed = (await stack.ledger.partitions(item.id))[0]
    until_ms = closed.quarantined_until_ms
    assert until_ms is not None
    for name, record in before.items():
        assert record is not None
        after = await caller.record(item, name, "b")
        waits = record.state == "held" and record.expires_at_ms < until_ms
        assert after == (replace(record, expires_at_ms=until_ms) if waits else record), name
    assert {name for name, record in before.items() if record and record.expires_at_ms >= until_ms} == {"extended"}
    # Held, paying, extended, confirmed, refunded and the cart's line, three each; and two told.
    assert await stack.shard.bought(PartitionRef(item.id, 0)) == [20]
    assert (await stack.status(item)).holds == 4
    steps = (("confirm", "held"), ("release", "paying"), ("release", "line"))
    assert [await caller.step(item, verb, name, "", "b") for verb, name in steps] == ["A", "A", "X"]
    assert await caller.step(item, "refund", "refunded", 3, "b") == "A"
    assert await caller.hold(item, "released", quantity=3, buyer_id="b") == "R"
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


async def test_what_was_proven_to_be_complete_keeps_its_holds_as_they_are(stack: Stack) -> None:
    item = await _limited(stack)
    caller = Caller(stack.ledger, stack.shard)
    await caller.hold(item, "a", "b", ttl_ms=60_000)
    assert await caller.step(item, "release", "b") == "A"
    before = await caller.record(item, "a")
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    await loop.stop()
    await stack.ledger.fence_partition(PartitionRef(item.id, 0), 1, "another copy took over")
    renewal = Renewal(
        stack.shard, stack.ledger, stack.signals, stack.clock, durability_of_new=lambda: "durable", quarantine_ms=9_999
    )
    assert await renewal.close(await stack.row(item), proven=True)
    assert await renewal.rebuild(PartitionRef(item.id, 0))
    assert await caller.record(item, "a") == before
    assert (await stack.status(item)).holds == 1
    assert await caller.step(item, "confirm", "a") == "A"
    assert await caller.step(item, "confirm", "b") == "N"


async def test_holds_wait_also_where_the_shard_has_all_that_the_ledger_has(stack: Stack) -> None:
    """Its memory goes back in time by an extension, or a confirmation, that somebody was told of."""
    item = await _limited(stack)
    caller = Caller(stack.ledger, stack.shard)
    assert await caller.hold(item, "a", "b", ttl_ms=30_000) == "AA"
    assert await caller.step(item, "release", "b") == "A"
    await stack.ledger.mark_fast(PartitionRef(item.id, 0), 1)
    stack.server.restart()
    await _recover(stack, item)
    closed = (await stack.ledger.partitions(item.id))[0]
    assert (closed.final_seq, (await stack.ledger.standing(item.id)).held) == (3, 1)
    record = await caller.record(item, "a")
    assert record is not None
    assert record.expires_at_ms == closed.quarantined_until_ms
    assert await caller.step(item, "confirm", "b") == "N"
    report = await Auditor(stack.ledger, stack.shard).audit()
    assert report.ok, report.problems


@pytest.mark.parametrize("restores", [False, True])
async def test_limits_are_counted_as_before(stack: Stack, restores: bool) -> None:
    made = spec(total=10_000, partitions=1, limit_per_buyer=10, refund_restores_limit=restores)
    item = (await stack.ledger.create_item(made, "durable", 0)).item
    await open_item(stack.ledger, stack.shard, stack.clock, item)
    caller = Caller(stack.ledger, stack.shard)
    for name in ("a", "b", "c"):
        assert await caller.hold(item, name, quantity=3, buyer_id="u") == "A"
    assert await caller.step(item, "confirm", "a", "", "u") == "A"
    assert await caller.step(item, "refund", "a", 2, "u") == "A"
    assert await caller.step(item, "release", "b", "", "u") == "A"
    before = await stack.shard.bought(PartitionRef(item.id, 0))
    assert before == [4 if restores else 6]
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    await loop.stop()
    await stack.client.flushall()
    await _recover(stack, item)
    assert await stack.shard.bought(PartitionRef(item.id, 0)) == before


async def test_what_ended_long_ago_does_not_come_back(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    item = await _limited(stack)
    caller = Caller(stack.ledger, stack.shard)
    await caller.hold(item, "a", "b")
    assert await caller.step(item, "release", "a") == "A"
    relay, applier = stack.new_relay(), stack.new_applier()
    loop = stack.run(relay, applier)
    assert await relay.drain(60_000) == []
    await loop.stop()
    await stack.client.flushall()
    monkeypatch.setattr("hotsku.domain.recovery.RETENTION_MS", 0)
    await _recover(stack, item)
    assert await caller.record(item, "a") is None
    assert await caller.record(item, "b") is not None
    # The order is new to the shard, and another attempt to the ledger.
    assert await caller.hold(item, "a") == "D"


async def test_a_stream_that_comes_back_is_salvaged_after_all(stack: Stack) -> None:
    """The relay fenced the partition when its events were gone; then the right files are there again."""
    item = await _limited(stack)
    await _ask(stack, item, 1, *((f"o-{n}", "b", 1) for n in range(20)))
    stream = stack.keys.partition(PartitionRef(item.id, 0)).stream
    events = await stack.client.dump(stream) or b""
    await stack.client.delete(stream)
    stack.run(stack.new_relay(), stack.new_applier())

    async def fenced() -> bool:
        return (await stack.row(item)).state == "fenced"

    await until(fenced)
    await stack.client.restore(stream, 0, events)
    stack.run(stack.new_recoverer(lost_after_ms=0))
    await until(lambda: _open_as(stack, item, 2))
    assert (await stack.ledger.standing(item.id)).sold == 20
    assert await _ask(stack, item, 2, *((f"o-{n}", "b", 1) for n in range(20))) == "R" * 20


@pytest.mark.parametrize("lost_after_ms", [0, NEVER_MS], ids=["given up", "waiting"])
async def test_what_one_recoverer_found_lost_no_other_finds_proven(stack: Stack, lost_after_ms: int) -> None:
    """An engine told the first one what it had acknowledged; then both were gone."""
    item = await _limited(stack)
    await _ask(stack, item, 1, *((f"o-{n}", "b", 1) for n in range(20)))
    stack.server.restart()
    await stack.client.connection_pool.disconnect()
    first = stack.new_recoverer(lost_after_ms=lost_after_ms)
    report = FencedReport(ref=PartitionRef(item.id, 0), incarnation=1, acknowledged_seq=21)
    first._hear(Needs(engine_id="e", no=1, fenced=[report]))
    await until(lambda: _marked(stack, first, item))
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_recoverer(lost_after_ms=0))
    await until(lambda: _open_as(stack, item, 2))
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.quarantined) == (20, standing.preallocated)
    assert standing.quarantined > 0


async def _marked(stack: Stack, recoverer: Recoverer, item: Item) -> bool:
    with suppress(Lost):  # its connection is of before the restart
        await recoverer.look()
    return (await stack.row(item)).durability == "fast"


class _SlowToTell(WireShard):
    """A shard whose status reaches its caller when the test lets it."""

    def __init__(self, stack: Stack) -> None:
        address = Address(path=str(stack.server.socket))
        super().__init__(Router(OneServer(lambda: address), 60), stack.keys)
        self.looked, self.tells = asyncio.Event(), asyncio.Event()

    async def status(self, ref: PartitionRef) -> PartitionStatus:
        status = await super().status(ref)
        self.looked.set()
        await self.tells.wait()
        return status


async def test_a_recoverer_that_is_behind_does_not_end_what_another_one_begins(stack: Stack) -> None:
    """It would be open in the ledger, armed on its shard, and FENCED for ever."""
    item = await _limited(stack)
    ref = PartitionRef(item.id, 0)
    await stack.ledger.fence_partition(ref, 1, "another copy took over")
    shard = _SlowToTell(stack)
    quick, stack.shard = stack.shard, shard
    slow = stack.new_recoverer(lost_after_ms=0)
    stack.shard = quick
    behind = asyncio.create_task(slow.look())
    await shard.looked.wait()
    renewal = Renewal(
        quick, stack.ledger, stack.signals, stack.clock, durability_of_new=lambda: "durable", quarantine_ms=9_999
    )
    assert await renewal.close(await stack.row(item), proven=True)
    memory = await quick.memory(ref)
    assert await quick.renew(ref, 2, item, memory, None) == "rebuilding"
    shard.tells.set()
    await behind
    shard.close()
    stack.run(stack.new_recoverer())
    await until(lambda: _open_as(stack, item, 2))
    await lease_and_install(stack.ledger, quick, stack.clock, [Grant(ref, 2, 0, 10)])
    assert await _ask(stack, item, 2, ("o-1", "b", 1)) == "A"


async def test_what_was_published_before_its_stream_was_lost_is_waited_for(stack: Stack) -> None:
    """The broker has it, and the ledger is a moment behind. With that it has everything: nothing is given up."""
    item = await _limited(stack)
    relays = stack.run(stack.new_relay())
    assert await _ask(stack, item, 1, *((f"o-{n}", "b", 1) for n in range(10))) == "A" * 10

    async def published() -> bool:
        return bool(await stack.topic())

    await until(published)
    await relays.stop()
    await stack.client.delete(stack.keys.partition(PartitionRef(item.id, 0)).stream)
    await stack.ledger.fence_partition(PartitionRef(item.id, 0), 1, "its events are gone")
    recoverer = stack.new_recoverer(interval_ms=NEVER_MS)
    for _ in range(3):
        await recoverer.look()
    assert (await stack.row(item)).state == "fenced"
    stack.run(stack.new_applier())
    stack.run(stack.new_recoverer())
    await until(lambda: _open_as(stack, item, 2))
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.quarantined) == (10, 0)
    assert await _ask(stack, item, 2, *((f"o-{n}", "b", 1) for n in range(10))) == "R" * 10


async def test_what_never_comes_is_given_up_in_the_end(stack: Stack) -> None:
    item = await _limited(stack)
    assert await _ask(stack, item, 1, ("o-1", "b", 1)) == "A"
    await stack.client.delete(stack.keys.partition(PartitionRef(item.id, 0)).stream)
    stack.run(stack.new_relay(), stack.new_applier(), stack.new_recoverer(lost_after_ms=200))
    await until(lambda: _open_as(stack, item, 2))
    standing = await stack.ledger.standing(item.id)
    assert (standing.sold, standing.quarantined) == (0, standing.preallocated)

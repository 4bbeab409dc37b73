"""The recoverer: what is proven sells again by itself, what is not stays fenced."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio
from tests.support.servers import TestServer
from tests.support.workers import NEVER_MS, Stack, open_stack, until

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.ports import Fenced, FencedReport, Lost, Needs, News

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stack(valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(valkey, tmp_path) as made:
        yield made


@pytest.fixture
async def fast(valkey_fast: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    """The same with durability "fast"."""
    async with open_stack(valkey_fast, tmp_path) as made:
        yield made


async def _armed(stack: Stack, item: Item) -> bool:
    """Are all of the item's partitions?"""
    try:
        return all([(await stack.status(item, number)).armed for number in range(item.spec.partitions)])
    except Lost:
        return False


@pytest.mark.parametrize("kill", [True, False])
async def test_a_proven_restart_sells_again(stack: Stack, kill: bool) -> None:
    item = await stack.item(partitions=3)
    news: list[News] = []
    stack.signals.subscribe(news=news.append)
    stack.run(stack.new_recoverer())
    await stack.sell(item, 50)
    stack.server.restart(kill=kill)
    await until(lambda: _armed(stack, item))
    await stack.sell(item, 50)
    status = await stack.status(item)
    assert (status.seq, status.incarnation, status.taken) == (100, 1, 100)
    if kill:
        await until(lambda: _rearmed(news) <= {PartitionRef(item.id, number) for number in range(3)})


async def test_a_restart_while_it_did_not_run(stack: Stack) -> None:
    item = await stack.item(partitions=2)
    await stack.sell(item, 10)
    stack.server.restart()
    stack.run(stack.new_recoverer(interval_ms=NEVER_MS))
    await until(lambda: _armed(stack, item))


async def test_a_report_is_looked_into_at_once_and_the_news_is_told(stack: Stack) -> None:
    item = await stack.item()
    recoverer = stack.new_recoverer(interval_ms=NEVER_MS)
    stack.run(recoverer)
    news: list[News] = []
    stack.signals.subscribe(news=news.append)
    await stack.signals.listening()
    ref = PartitionRef(item.id, 0)
    await stack.shard.disarm(ref, 1, seal=False)
    stack.signals.publish(_report(ref, 0))
    await until(lambda: _rearmed(news) == {ref})
    assert await _armed(stack, item)


async def test_an_engine_that_missed_the_news_is_told_again(stack: Stack) -> None:
    item = await stack.item()
    stack.run(stack.new_recoverer(interval_ms=NEVER_MS))
    news: list[News] = []
    stack.signals.subscribe(news=news.append)
    await stack.signals.listening()
    stack.signals.publish(_report(PartitionRef(item.id, 0), 0))
    await until(lambda: _rearmed(news) == {PartitionRef(item.id, 0)})


async def test_a_seq_that_was_acknowledged_and_is_gone_leaves_it_fenced(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    item = await stack.item()
    await stack.sell(item, 10)
    ref = PartitionRef(item.id, 0)
    recoverer = stack.new_recoverer(interval_ms=NEVER_MS)
    await stack.signals.listening()
    stack.signals.publish(_report(ref, 11))
    stack.signals.publish(_report(ref, 5))
    await until(lambda: bool(recoverer._reported))
    await stack.shard.disarm(ref, 1, seal=False)
    for _ in range(3):
        await recoverer.look()
    assert not await _armed(stack, item)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "the shard is at seq 10, but 11 was acknowledged" in errors[0]


async def test_fast_is_proven_only_by_a_seal(fast: Stack) -> None:
    item = await fast.item(partitions=2, durability="fast")
    await fast.sell(item, 10, 0)
    await fast.sell(item, 10, 1)
    await fast.shard.disarm(PartitionRef(item.id, 0), 1, seal=True)
    fast.server.restart(kill=False)
    recoverer = fast.new_recoverer()
    await until(lambda: _looked(recoverer.look))
    assert (await fast.status(item, 0)).armed
    assert not (await fast.status(item, 1)).armed
    with pytest.raises(Fenced):
        await fast.sell(item, 1, 1)
    await fast.sell(item, 1, 0)


async def test_durable_after_a_fast_session_is_proven_only_by_a_seal(stack: Stack) -> None:
    """A sale that began durable, went on under `fast`, and crashed: that every write is synced now proves nothing."""
    item = await stack.item()
    await stack.sell(item, 10)
    await stack.shard.disarm(PartitionRef(item.id, 0), 1, seal=True)
    await stack.client.config_set("appendfsync", "everysec")
    await stack.new_recoverer().look()
    assert (await stack.row(item)).durability == "fast"
    assert (await stack.client.config_get("appendfsync"))["appendfsync"] == "everysec"
    await stack.sell(item, 10)
    stack.server.restart()  # with its own settings: durable
    await until(lambda: _looked(stack.new_recoverer().look))
    assert (await stack.status(item)).seq == 20
    assert not await _armed(stack, item)


async def test_a_torn_file_proves_nothing_on_redis_7(redis7: TestServer, tmp_path: Path) -> None:
    """It leaves half a transaction in its file, and replays it at the next restart."""
    async with open_stack(redis7, tmp_path) as stack:
        assert not (await stack.shard.durability(PartitionRef(1, 0))).every_write_synced
        await stack.client.config_set("aof-load-truncated", "no")
        assert (await stack.shard.durability(PartitionRef(1, 0))).every_write_synced


@pytest.mark.parametrize("loss", ["meta", "flush", "stream", "back in time", "not synced", "replica"])
async def test_what_is_not_proven_stays_fenced(stack: Stack, loss: str) -> None:
    item = await stack.item()
    await stack.sell(item, 10)
    keys = stack.keys.partition(PartitionRef(item.id, 0))
    match loss:
        case "meta":
            await stack.client.delete(keys.meta)
        case "flush":
            await stack.client.flushall()
        case "stream":
            await stack.shard.disarm(PartitionRef(item.id, 0), 1, seal=False)
            await stack.client.delete(keys.stream)
        case "back in time":
            await stack.client.hset(keys.meta, "seq", "9")
        case "not synced":
            await stack.shard.disarm(PartitionRef(item.id, 0), 1, seal=False)
            await stack.client.config_set("appendfsync", "everysec")
        case "replica":
            await stack.shard.disarm(PartitionRef(item.id, 0), 1, seal=False)
            await _become_a_replicas_primary(stack.client)
    recoverer = stack.new_recoverer()
    for _ in range(3):
        await recoverer.look()
    assert not (await stack.status(item)).armed
    assert (await stack.row(item)).state == "open"


async def test_a_new_partition_is_not_its_business(stack: Stack) -> None:
    item = await stack.item()
    made = await stack.ledger.create_item(
        item.spec.__class__(sku="later", total=10, partitions=1), "durable", stack.clock.now_ms()
    )
    await stack.new_recoverer().look()
    assert (await stack.shard.status(PartitionRef(made.item.id, 0))).incarnation == 0


async def test_two_at_once(stack: Stack) -> None:
    item = await stack.item(partitions=5)
    stack.run(stack.new_recoverer(interval_ms=5), stack.new_recoverer(interval_ms=5))
    for _ in range(3):
        stack.server.restart()
        await until(lambda: _armed(stack, item))
        await stack.sell(item, 10)
    assert (await stack.status(item)).seq == 30


def _report(ref: PartitionRef, acknowledged_seq: int) -> Needs:
    report = FencedReport(ref=ref, incarnation=1, acknowledged_seq=acknowledged_seq)
    return Needs(engine_id="e", no=1, fenced=[report])


def _rearmed(news: list[News]) -> set[PartitionRef]:
    return {ref for one in news for ref in one.rearmed}


async def _looked(look: Callable[[], Awaitable[None]]) -> bool:
    try:
        await look()
    except Lost:
        return False
    return True


async def _become_a_replicas_primary(client: redis.asyncio.Redis) -> None:
    """Give the server a replica: one of its clients says that it is one, until it is closed with the others."""

    async def has_replica() -> bool:
        replicas = (await client.info("replication")).get("slave0", {})
        return bool(replicas) and replicas["state"] == "online"

    await client.config_set("repl-diskless-sync", "no")  # which would wait for more of them

    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    await connection.send_command("REPLCONF", "listening-port", "1")
    await connection.read_response()
    await connection.send_command("PSYNC", "?", "-1")
    await until(has_replica)

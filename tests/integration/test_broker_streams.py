"""The broker on streams: at least once, in order, whatever happens to its server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.servers import TestServer
from tests.support.topics import Consumer, published, take
from tests.support.workers import Stack, open_stack, until

from hotsku.broker.streams import StreamsBroker
from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable

pytestmark = pytest.mark.anyio

REF = PartitionRef(1, 0)


@pytest.fixture
async def stack(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Stack]:
    async with open_stack(module_valkey, tmp_path) as made:
        yield made


async def test_a_partitions_messages_come_in_order(stack: Stack) -> None:
    bodies = [str(number).encode() for number in range(50)]
    for body in bodies:
        await stack.broker.publish(REF, body)
    assert await take(stack.broker, 50) == bodies


async def test_partitions_spread_over_the_slices_and_stay_there(stack: Stack) -> None:
    refs = [PartitionRef(item, partition) for item in range(20) for partition in range(8)]
    slices = [stack.broker.slice_of(ref) for ref in refs]
    assert set(slices) == set(stack.slices)
    assert [stack.new_broker().slice_of(ref) for ref in refs] == slices


async def test_what_was_not_acknowledged_comes_again(stack: Stack) -> None:
    for body in (b"1", b"2", b"3"):
        await stack.broker.publish(REF, body)
    assert await take(stack.broker, 2, ack=False) == [b"1", b"2"]
    assert await take(stack.new_broker(), 3) == [b"1", b"2", b"3"]
    assert await stack.broker.lag() == 0


async def test_what_was_acknowledged_comes_no_more(stack: Stack) -> None:
    for body in (b"1", b"2", b"3"):
        await stack.broker.publish(REF, body)
    assert await take(stack.broker, 2) == [b"1", b"2"]
    assert await take(stack.broker, 1) == [b"3"]


async def test_a_slice_has_one_reader_and_another_takes_over(stack: Stack) -> None:
    first = Consumer(stack.new_broker())
    await stack.broker.publish(REF, b"1")
    await until(lambda: first.bodies == [b"1"])
    second = Consumer(stack.new_broker())
    for number in range(2, 20):
        await stack.broker.publish(REF, str(number).encode())
    await until(lambda: len(first.bodies) == 19)
    assert second.bodies == []
    await first.stop()
    await stack.broker.publish(REF, b"20")
    await until(lambda: second.bodies == [b"20"])
    await second.stop()


async def test_another_takes_over_from_a_reader_that_died(stack: Stack) -> None:
    await stack.broker.publish(REF, b"1")
    dead = stack.new_broker().consume()
    async with asyncio.timeout(60):
        assert (await anext(dead)).body == b"1"
    # It neither acknowledges nor lets go.
    assert await take(stack.new_broker(), 1) == [b"1"]
    await dead.aclose()


async def test_a_slice_keeps_a_bounded_number(stack: Stack) -> None:
    broker = StreamsBroker(stack.client, stack.slices, stack.clock, "r", keep=10)
    large = bytes(5_000)  # one to a node of the stream, so that about ten are ten
    for _ in range(50):
        await broker.publish(REF, large)
    assert await stack.client.xlen(broker.slice_of(REF)) <= 20


async def test_a_message_that_was_trimmed_while_it_was_pending_is_passed_over(stack: Stack) -> None:
    await stack.broker.publish(REF, b"1")
    await take(stack.broker, 1, ack=False)
    await stack.client.xtrim(stack.broker.slice_of(REF), maxlen=0, approximate=False)
    await stack.broker.publish(REF, b"2")
    assert await take(stack.broker, 1) == [b"2"]
    assert await stack.broker.lag() == 0


@pytest.mark.parametrize("disaster", ["delete", "flush", "no group", "restart"])
async def test_consuming_outlives_disasters(valkey: TestServer, tmp_path: Path, disaster: str) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        consumer = Consumer(stack.broker)
        await stack.broker.publish(REF, b"before")
        await until(lambda: consumer.bodies == [b"before"])
        match disaster:
            case "delete":
                await stack.client.delete(*stack.slices)
            case "flush":
                await stack.client.flushall()
            case "no group":
                for name in stack.slices:
                    await stack.client.xgroup_destroy(name, "ledger")
            case "restart":
                valkey.restart()

        await until(lambda: published(stack.broker, REF, b"after"))
        await until(lambda: b"after" in consumer.bodies)
        await consumer.stop()


async def test_publishing_without_a_server_says_so(valkey: TestServer, tmp_path: Path) -> None:
    async with open_stack(valkey, tmp_path) as stack:
        valkey.kill()
        with pytest.raises(BackendUnavailable, match="the broker took no message"):
            await stack.broker.publish(REF, b"1")

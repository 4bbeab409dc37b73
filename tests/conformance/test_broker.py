"""Every broker alike: at least once, in order, and consuming for ever, whatever happens to its servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import groupby

import pytest
from tests.support.brokers import (
    BrokerServer,
    NatsServer,
    RabbitMqServer,
    TansuServer,
    missing,
    running_broker,
)
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.servers import TestServer, redis_binary, running_server
from tests.support.topics import (
    Consumer,
    Place,
    RemotePlace,
    StreamsPlace,
    killed_after_reading,
    published,
    send,
    take,
)
from tests.support.workers import until

from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ports import Broker

pytestmark = pytest.mark.anyio

REF = PartitionRef(1, 0)

_SERVERS: dict[str, type[BrokerServer]] = {
    "rabbitmq": RabbitMqServer,
    "nats": NatsServer,
    "kafka": TansuServer,
}
_KINDS = ["streams", "streams-redis7", "streams-cluster", *_SERVERS]
_PATIENCE_S = 60.0


class Kind:
    """One kind of broker, running."""

    def __init__(self, name: str, exits: ExitStack) -> None:
        self.name = name
        if name in _SERVERS:
            self._remote = exits.enter_context(running_broker(_SERVERS[name]))
        elif name == "streams-cluster":
            self._shards: TestServer | LocalCluster = exits.enter_context(running_cluster())
        else:
            binary = redis_binary() if name == "streams-redis7" else None
            self._shards = exits.enter_context(running_server(binary=binary))

    def place(self, ledger_id: str | None = None) -> Place:
        if self.name in _SERVERS:
            return RemotePlace(self._remote, ledger_id)
        return StreamsPlace(self._shards, ledger_id)


@pytest.fixture(scope="module", params=_KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    name: str = request.param
    if name in _SERVERS and missing(_SERVERS[name]):
        pytest.skip(missing(_SERVERS[name]))
    if name == "streams-redis7" and redis_binary() is None:
        pytest.skip("no redis-server on PATH")
    with ExitStack() as exits:
        yield Kind(name, exits)


@pytest.fixture
def place(kind: Kind) -> Place:
    return kind.place()


@pytest.fixture
async def broker(place: Place) -> AsyncIterator[Broker]:
    async with place.open() as opened:
        yield opened


async def test_what_was_published_arrives_once_it_is_acknowledged_no_more(place: Place, broker: Broker) -> None:
    bodies = [str(number).encode() for number in range(20)]
    for body in bodies:
        await send(broker, REF, body)
    assert await take(broker, 20) == bodies
    async with place.open() as other:
        await send(broker, REF, b"new")
        assert await take(other, 1) == [b"new"]


async def test_every_partitions_messages_come_in_order(broker: Broker) -> None:
    refs = [PartitionRef(item, partition) for item in (1, 2) for partition in range(12)]
    for number in range(10):
        await asyncio.gather(*(send(broker, ref, f"{ref.item_id} {ref.partition} {number}".encode()) for ref in refs))
    came = [tuple(map(int, body.split())) for body in await take(broker, 240)]
    for ref in refs:
        assert [n for item, partition, n in came if (item, partition) == (ref.item_id, ref.partition)] == list(
            range(10)
        )


async def test_what_was_not_acknowledged_comes_again(place: Place, broker: Broker) -> None:
    for body in (b"1", b"2", b"3"):
        await send(broker, REF, body)
    assert await take(broker, 1, ack=False) == [b"1"]
    async with place.open() as other:
        assert await take(other, 3) == [b"1", b"2", b"3"]


async def test_what_a_killed_process_had_read_comes_again(place: Place, broker: Broker) -> None:
    await send(broker, REF, b"1")
    await send(broker, REF, b"2")
    assert await asyncio.to_thread(killed_after_reading, place) == b"1"
    assert await take(broker, 2) == [b"1", b"2"]


async def test_the_same_message_again_comes_again(broker: Broker) -> None:
    """The relay sends again what the applier has refused and acknowledged: nobody may take that for a duplicate."""
    consumer = Consumer(broker)
    for body in (b"2", b"1", b"2"):
        await send(broker, REF, body)
    # By and by: what a broker waits for in vain while a machine stands still comes twice.
    await until(lambda: [body for body, _ in groupby(consumer.bodies)][:3] == [b"2", b"1", b"2"], _PATIENCE_S)
    await consumer.stop()


async def test_two_consumers_share_and_the_survivor_gets_it_all(place: Place, broker: Broker) -> None:
    refs = [PartitionRef(1, partition) for partition in range(12)]
    async with place.open() as first, place.open() as second:
        consumers = [Consumer(first), Consumer(second)]
        for number in range(10):
            for ref in refs:
                await send(broker, ref, f"{ref.partition} {number}".encode())
        sent = {f"{ref.partition} {number}".encode() for ref in refs for number in range(10)}
        await until(lambda: sent <= {*consumers[0].bodies, *consumers[1].bodies}, _PATIENCE_S)
        await consumers[0].stop()
        for ref in refs:
            await send(broker, ref, f"{ref.partition} last".encode())
        last = {f"{ref.partition} last".encode() for ref in refs}
        await until(lambda: last <= {*consumers[0].bodies, *consumers[1].bodies}, _PATIENCE_S)
        await consumers[1].stop()


async def test_a_large_message(broker: Broker) -> None:
    body = bytes(range(256)) * 4000
    await send(broker, REF, body)
    assert await take(broker, 1) == [body]


async def test_ledgers_of_a_namespace_do_not_get_each_others_messages(kind: Kind, broker: Broker) -> None:
    async with kind.place().open() as stranger:
        for partition in range(12):
            await send(stranger, PartitionRef(1, partition), b"not yours")
        await send(broker, REF, b"yours")
        assert await take(broker, 1) == [b"yours"]


async def test_it_goes_on_when_the_servers_come_back(place: Place, broker: Broker) -> None:
    consumer = Consumer(broker)
    await until(lambda: published(broker, REF, b"before"), _PATIENCE_S)
    await until(lambda: consumer.bodies == [b"before"], _PATIENCE_S)
    await asyncio.to_thread(place.down)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            with pytest.raises(BackendUnavailable, match="the broker took no message"):
                await broker.publish(REF, b"lost")
    finally:
        await asyncio.to_thread(place.up)
    await until(lambda: published(broker, REF, b"after"), _PATIENCE_S)
    await until(lambda: b"after" in consumer.bodies, _PATIENCE_S)
    await consumer.stop()


async def test_an_acknowledgement_that_comes_too_late_is_no_fault(place: Place, broker: Broker) -> None:
    await until(lambda: published(broker, REF, b"1"), _PATIENCE_S)
    deliveries = broker.consume()
    async with asyncio.timeout(_PATIENCE_S):
        delivery = await anext(deliveries)
    await asyncio.to_thread(place.down)
    await asyncio.to_thread(place.up)
    await delivery.ack()
    await until(lambda: published(broker, REF, b"2"), _PATIENCE_S)
    async with asyncio.timeout(_PATIENCE_S):
        while (delivery := await anext(deliveries)).body != b"2":
            await delivery.ack()
    await deliveries.aclose()


async def test_a_broker_that_forgets_everything(place: Place, broker: Broker) -> None:
    consumer = Consumer(broker)
    await until(lambda: published(broker, REF, b"before"), _PATIENCE_S)
    await until(lambda: consumer.bodies == [b"before"], _PATIENCE_S)
    await place.forget()

    # What was published while nobody had declared anything is lost; the relay would send it again.
    async def comes_through() -> bool:
        await published(broker, REF, b"after")
        return b"after" in consumer.bodies

    await until(comes_through, _PATIENCE_S)
    await consumer.stop()


async def test_a_consumer_ends_in_bounded_time_also_without_servers(place: Place, broker: Broker) -> None:
    consumer = Consumer(broker)
    await until(lambda: published(broker, REF, b"1"), _PATIENCE_S)
    await until(lambda: consumer.bodies == [b"1"], _PATIENCE_S)
    await asyncio.to_thread(place.down)
    try:
        async with asyncio.timeout(60):
            await consumer.stop()
        async with asyncio.timeout(60), AsyncExitStack() as exits:
            with pytest.raises(BackendUnavailable):
                await (await exits.enter_async_context(place.open())).publish(REF, b"2")
    finally:
        await asyncio.to_thread(place.up)

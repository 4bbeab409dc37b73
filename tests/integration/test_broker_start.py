"""A broker that refuses, lacks what is needed, or is not there: said at once, in one line, without the password."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aio_pika
import pytest
from tests.support.brokers import BrokerServer, NatsServer, RabbitMqServer, free_port, missing, running_broker
from tests.support.tls import TlsFiles, make_tls_files
from tests.support.topics import NAMESPACE, send, take

from hotsku.broker.opening import open_broker
from hotsku.broker.topic import Topic
from hotsku.clock import SystemClock
from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable, HotSKUError, InvalidSettings

pytestmark = pytest.mark.anyio

_TOPIC = Topic(NAMESPACE, "0123456789")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def rabbitmq(tls: TlsFiles) -> Iterator[tuple[BrokerServer, int]]:
    """A node, and the port where it speaks TLS."""
    if missing(RabbitMqServer):
        pytest.skip(missing(RabbitMqServer))
    port = free_port()
    config = [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {tls.ca}",
        f"ssl_options.certfile = {tls.certificate}",
        f"ssl_options.keyfile = {tls.key}",
    ]
    with running_broker(RabbitMqServer, *config) as server:
        yield server, port


async def _fault(url: str, topic: Topic) -> HotSKUError:
    with pytest.raises(HotSKUError) as caught:
        async with open_broker(url, topic, SystemClock()):
            raise AssertionError("it opened")
    return caught.value


async def _refusal(url: str, kind: type[HotSKUError], topic: Topic = _TOPIC) -> str:
    caught = await _fault(url, topic)
    while kind is not BackendUnavailable and isinstance(caught, BackendUnavailable):
        caught = await _fault(url, topic)  # a machine that stood still left it no time to be refused
    assert type(caught) is kind, caught
    line = str(caught)
    assert line.startswith("broker_url: ")
    assert "\n" not in line
    assert "secret" not in line
    return line


@pytest.mark.parametrize("scheme", ["amqp", "kafka", "nats"])
async def test_nobody_is_there(scheme: str) -> None:
    url = f"{scheme}://u:secret@127.0.0.1:{free_port()}"
    assert "cannot be reached" in await _refusal(url, BackendUnavailable)


async def test_another_server_of_the_list_answers(rabbitmq: tuple[BrokerServer, int]) -> None:
    await _works(f"amqp://127.0.0.1:{free_port()},127.0.0.1:{rabbitmq[0].port}")


async def test_rabbitmq_refuses(rabbitmq: tuple[BrokerServer, int]) -> None:
    port = rabbitmq[0].port
    assert "refuses" in await _refusal(f"amqp://u:secret@127.0.0.1:{port}", InvalidSettings)
    assert "refuses" in await _refusal(f"amqp://127.0.0.1:{port}/nowhere", InvalidSettings)


async def test_rabbitmq_has_another_queue_of_that_name(rabbitmq: tuple[BrokerServer, int]) -> None:
    topic = Topic(NAMESPACE, "abcdef0123")
    connection = await aio_pika.connect(rabbitmq[0].url)
    async with connection, connection.channel() as channel:
        await channel.declare_queue(topic.queue(3), durable=True)
    assert "PRECONDITION_FAILED" in await _refusal(rabbitmq[0].url, InvalidSettings, topic)


async def test_rabbitmq_with_tls(rabbitmq: tuple[BrokerServer, int], tls: TlsFiles) -> None:
    url = f"amqps://127.0.0.1:{rabbitmq[1]}"
    await _works(f"{url}?ssl_ca_certs={tls.ca}")
    assert "certificate" in await _refusal(url, BackendUnavailable)
    assert "no.pem" in await _refusal(f"{url}?ssl_ca_certs=no.pem", InvalidSettings)


def _nats(*options: str) -> "Iterator[BrokerServer]":
    if missing(NatsServer):
        pytest.skip(missing(NatsServer))
    with running_broker(NatsServer, *options) as server:
        yield server


@pytest.fixture
def bare_nats() -> "Iterator[BrokerServer]":
    yield from _nats("-D")


@pytest.fixture
def locked_nats(tmp_path: Path) -> "Iterator[BrokerServer]":
    yield from _nats("-js", "-sd", str(tmp_path), "--user", "u", "--pass", "secret")


@pytest.fixture
def tls_nats(tmp_path: Path, tls: TlsFiles) -> "Iterator[BrokerServer]":
    certificate = ("--tlscert", str(tls.certificate), "--tlskey", str(tls.key))
    yield from _nats("-js", "-sd", str(tmp_path), "--tls", *certificate)


async def test_nats_without_jetstream(bare_nats: BrokerServer) -> None:
    assert "JetStream" in await _refusal(bare_nats.url, InvalidSettings)


async def test_nats_with_a_password(locked_nats: BrokerServer) -> None:
    await _works(f"nats://u:secret@127.0.0.1:{locked_nats.port}")
    assert "Authorization" in await _refusal(locked_nats.url, InvalidSettings)
    assert "Authorization" in await _refusal(f"nats://secret@127.0.0.1:{locked_nats.port}", InvalidSettings)


# nats-py leaves the writer that it had before TLS to the garbage collector, which complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_nats_with_tls(tls_nats: BrokerServer, tls: TlsFiles) -> None:
    await _works(f"natss://127.0.0.1:{tls_nats.port}?ssl_ca_certs={tls.ca}")
    await _refusal(f"natss://127.0.0.1:{tls_nats.port}", BackendUnavailable)


async def test_a_password_is_not_sent_to_a_nats_without_tls(locked_nats: BrokerServer) -> None:
    line = await _refusal(f"natss://u:secret@127.0.0.1:{locked_nats.port}", InvalidSettings)
    assert "does not ask for TLS" in line


async def _works(url: str) -> None:
    async with asyncio.timeout(90), AsyncExitStack() as exits:
        while True:
            with suppress(BackendUnavailable):  # a machine that stood still left it no time
                broker = await exits.enter_async_context(open_broker(url, _TOPIC, SystemClock()))
                break
        await send(broker, PartitionRef(1, 0), b"1")
        assert await take(broker, 1) == [b"1"]

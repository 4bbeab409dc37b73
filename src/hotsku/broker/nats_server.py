"""A connection to NATS, and what is made there."""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import quote

from faststream.nats import NatsBroker
from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import replace
from nats.aio.client import Client
from nats.errors import AuthorizationError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError

from hotsku.broker.access import security
from hotsku.broker.link import DEADLINE_S, words
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.errors import InvalidSettings
from hotsku.log import get_logger

CALL_S = 2.0

_CONNECT_S = 2
_ACK_WAIT_S = 5.0
_PING_S = 5

_log = get_logger("broker")


class Greeting(Struct):
    """What a server says first: here, whether it takes only TLS."""

    tls_required: bool = False


decode = Decoder(Greeting).decode


class Connected(Struct, frozen=True, eq=False):
    """FastStream's broker, and the connection that it has."""

    broker: NatsBroker
    connection: Client
    stream: JetStreamContext


async def connect(url: BrokerUrl) -> Connected:
    """A connection to one of the servers. Raises what the library does."""
    token = url.username if url.password is None else None
    login = f"{quote(token)}@" if token is not None else ""
    if url.tls:
        await _check_tls(url)
    broker = NatsBroker(
        [f"nats://{login}{f'[{host}]' if ':' in host else host}:{port}" for host, port in url.servers],
        security=security(url if token is None else replace(url, username=None)),
        connect_timeout=_CONNECT_S,
        allow_reconnect=False,
        reconnect_time_wait=0,
        max_reconnect_attempts=1,
        ping_interval=_PING_S,
        max_outstanding_pings=2,
        apply_types=False,
        logger=None,
    )
    connection = await broker.connect()
    return Connected(broker, connection, connection.jetstream(timeout=CALL_S))


async def declare(stream: JetStreamContext, topic: Topic) -> None:
    """The stream and a consumer for each slice; made where they are absent."""
    try:
        await stream.stream_info(stream_name(topic))
    except ServiceUnavailableError as error:
        if error.err_code is None:  # nobody is there to answer
            raise InvalidSettings("broker_url: the NATS server has no JetStream") from error
        raise
    except NotFoundError:
        try:
            await stream.add_stream(_stream(topic, replicas=3))
        except APIError:  # a server that is alone keeps one copy
            await stream.add_stream(_stream(topic, replicas=1))
    for number in range(topic.slices):
        await stream.add_consumer(stream_name(topic), _consumer(topic, number))


def stream_name(topic: Topic) -> str:
    """The name of the ledger's stream; dots are not allowed in it."""
    return f"{topic.namespace}_{topic.ledger_id}_events"


def consumer_name(number: int) -> str:
    """The name of a slice's durable consumer."""
    return f"ledger_{number}"


def refused(error: BaseException) -> bool:
    """Whether it says that NATS does not want us, or not like this."""
    return isinstance(error, AuthorizationError | BadRequestError) or "Authorization" in str(error)


async def close(connected: Connected) -> None:
    # Not FastStream's `stop`: it waits until what was fetched is processed, of which a pull subscription tells nobody.
    await connected.connection.close()


async def _check_tls(url: BrokerUrl) -> None:
    """nats-py encrypts where the server asks for it, and sends the password in the clear to one that does not. And it
    forgets to close a connection whose certificate it does not trust. So look first."""
    context = security(url).ssl_context
    for host, port in url.servers:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await _check_server(host, port, context)
        except ssl.SSLError:
            raise
        except (OSError, TimeoutError) as error:
            _log.debug("a server is away", host=host, port=port, error=words(error))


async def _check_server(host: str, port: int, context: ssl.SSLContext | None) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        greeting = await reader.readline()
        if not decode(greeting.removeprefix(b"INFO ")).tls_required:
            raise InvalidSettings(f"broker_url: the server at {host}:{port} does not ask for TLS")
        if context is not None:
            await writer.start_tls(context, server_hostname=host)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _stream(topic: Topic, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream_name(topic),
        subjects=[f"{topic.name}.{topic.ledger_id}.>"],
        storage=StorageType.FILE,
        num_replicas=replicas,
        discard=DiscardPolicy.OLD,
        max_msgs_per_subject=topic.keep.messages,
        max_bytes=topic.keep.size,
        max_age=topic.keep.age_s,
        duplicate_window=2 * DEADLINE_S,
    )


def _consumer(topic: Topic, number: int) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=consumer_name(number),
        filter_subject=f"{topic.name}.{topic.slice_key(number)}.>",
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=_ACK_WAIT_S,
        max_ack_pending=1,
    )

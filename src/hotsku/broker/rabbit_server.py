"""A connection to RabbitMQ, and what is declared there."""

from aio_pika import RobustConnection
from aio_pika.abc import AbstractRobustConnection, AbstractRobustQueue, TimeoutType
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from msgspec import Struct

from hotsku.broker.access import security
from hotsku.broker.link import close_quietly
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl

# A virtual host that is not there shows as a frame that was not expected.
_REFUSED = (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

_CONNECT_S = 2.0
_HEARTBEAT_S = 10
_RECONNECT_S = 60.0  # we are quicker, with a connection of our own
_PREFETCH = 8


class Connected(Struct, frozen=True, eq=False):
    """FastStream's broker, and the connection that it has."""

    broker: RabbitBroker
    connection: AbstractRobustConnection


class ClosedOnFailure(RobustConnection):
    """One that nobody holds is closed by the garbage collector, in whatever thread that runs."""

    async def connect(self, timeout: TimeoutType = None) -> None:
        try:
            await super().connect(timeout)
        except BaseException:
            await close_quietly(self.close())
            raise


async def connect(url: BrokerUrl) -> Connected:
    """A connection to the first server that answers. Raises what the last one did."""
    for number, (host, port) in enumerate(url.servers, start=1):
        broker = RabbitBroker(
            host=host,
            port=port,
            virtualhost=url.vhost,
            security=security(url),
            timeout=_CONNECT_S,
            reconnect_interval=_RECONNECT_S,
            client_properties={"heartbeat": _HEARTBEAT_S},
            default_channel=Channel(prefetch_count=_PREFETCH, on_return_raises=True),
            apply_types=False,
            logger=None,
        )
        broker._connection_kwargs["connection_class"] = ClosedOnFailure  # FastStream has no argument for it
        try:
            return Connected(broker, await broker.connect())
        except (OSError, TimeoutError):
            if number == len(url.servers):
                raise
    raise OSError("no server is named")


async def declare(broker: RabbitBroker, topic: Topic) -> list[AbstractRobustQueue]:
    """The queues, bound to the exchange; made where they are absent."""
    exchange = await broker.declare_exchange(exchange_of(topic))
    queues: list[AbstractRobustQueue] = []
    for number in range(topic.slices):
        queue = await broker.declare_queue(_queue(topic, number))
        await queue.bind(exchange, f"{topic.slice_key(number)}.#")
        queues.append(queue)
    return queues


def refused(error: BaseException) -> bool:
    """Whether it says that RabbitMQ does not want us, or not like this."""
    return isinstance(error, _REFUSED)


async def close(connected: Connected) -> None:
    # Not FastStream's `stop`: it closes the channel first, for which a queue that answers nobody lets it wait.
    await connected.connection.close()


def exchange_of(topic: Topic) -> RabbitExchange:
    """The exchange that the topic is."""
    return RabbitExchange(topic.name, type=ExchangeType.TOPIC, durable=True)


def _queue(topic: Topic, number: int) -> RabbitQueue:
    return RabbitQueue(
        topic.queue(number),
        queue_type=QueueType.QUORUM,
        durable=True,
        arguments={
            "x-single-active-consumer": True,
            "x-max-length": topic.keep.messages,
            "x-max-length-bytes": topic.keep.size,
            "x-message-ttl": topic.keep.age_s * 1000,
            "x-overflow": "drop-head",
        },
    )

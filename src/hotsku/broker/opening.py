"""Opens the broker that `broker_url` names. Its library is imported only then: each takes half a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from hotsku.backoff import end_if_cancelled
from hotsku.broker.link import words
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl, parse_broker_url
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ports import Broker, Clock

_Judge = Callable[[BaseException], bool]  # whether an error says that the broker refuses us


class Startable(Broker, Protocol):
    """A broker with servers of its own."""

    async def start(self) -> None: ...


@asynccontextmanager
async def open_broker(url: str, topic: Topic, clock: Clock) -> AsyncIterator[Broker]:
    """The broker at `url`, connected, with its queues declared. Its consumers end with their `consume`.

    Args:
        url: `amqp://`, `kafka://`, `nats://` or one of these with TLS.

    Raises:
        InvalidSettings: the broker refuses us, or lacks what is needed.
        BackendUnavailable: it cannot be reached.
    """
    broker, refused = _broker(_checked(parse_broker_url(url)), topic, clock)
    try:
        await _start(broker, refused)
        yield broker
    finally:
        await broker.close()


def _checked(url: BrokerUrl) -> BrokerUrl:
    """The same, if the files of its TLS can be read."""
    from hotsku.broker.access import security

    try:
        security(url)
    except OSError as error:
        files = ", ".join(value for name, value in url.options.items() if name.startswith("ssl_"))
        raise InvalidSettings(f"broker_url: cannot read what its TLS needs ({files}): {words(error)}") from error
    return url


async def _start(broker: Startable, refused: _Judge) -> None:
    try:
        await broker.start()
    except InvalidSettings:
        raise
    # Whatever a library raises: there is no broker for us. Some tell their own end by a CancelledError.
    except (Exception, asyncio.CancelledError) as error:
        end_if_cancelled()
        if refused(error):
            raise InvalidSettings(f"broker_url: the broker refuses: {words(error)}") from error
        raise BackendUnavailable(f"broker_url: the broker cannot be reached: {words(error)}") from error


def _broker(url: BrokerUrl, topic: Topic, clock: Clock) -> tuple[Startable, _Judge]:
    from hotsku.broker.access import hush

    hush()
    match url.kind:
        case "amqp":
            from hotsku.broker import rabbit

            return rabbit.RabbitMqBroker(url, topic, clock), rabbit.refused
        case "kafka":
            from hotsku.broker import kafka

            return kafka.ApacheKafkaBroker(url, topic, clock), kafka.refused
        case "nats":
            from hotsku.broker import nats

            return nats.NatsJetStreamBroker(url, topic, clock), nats.refused
        case "streams":
            raise ValueError("streams lie on the shards: see hotsku.broker.streams")

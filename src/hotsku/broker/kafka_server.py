"""Connections to Kafka, and the topic there."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
    for_code,
)
from faststream.kafka import KafkaBroker
from faststream.kafka.security import parse_security

from hotsku.broker.access import security
from hotsku.broker.link import close_quietly
from hotsku.broker.topic import Topic
from hotsku.broker_url import BrokerUrl
from hotsku.domain.relaying import MAX_BYTES

LEDGER_HEADER = "ledger"
REQUEST_MS = 4_000
MOST_BYTES = 2 * MAX_BYTES

_REFUSED = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)

# Of a topic that we make. One that is there is used as it is.
_PARTITIONS = 16
_COPIES = 3

_METADATA_MS = 5_000


async def declare(url: BrokerUrl, topic: Topic) -> None:
    """The topic; made where it is absent."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=_servers(url), request_timeout_ms=REQUEST_MS, **parse_security(security(url))
    )
    try:
        await admin.start()
        if topic.name in await admin.list_topics():
            return
        brokers = (await admin.describe_cluster())["brokers"]
        made = await admin.create_topics([_new_topic(topic, min(_COPIES, len(brokers)))])
        for outcome in made.to_object()["topic_errors"]:
            error = for_code(outcome["error_code"])
            if outcome["error_code"] and error is not TopicAlreadyExistsError:
                raise error(outcome.get("error_message") or error.description)
    finally:
        await close_quietly(admin.close())


def broker_at(url: BrokerUrl, *, idempotent: bool = False, consumer_only: bool = False) -> KafkaBroker:
    return KafkaBroker(
        _servers(url),
        acks="all",
        enable_idempotence=idempotent,
        max_request_size=MOST_BYTES,
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=_METADATA_MS,
        security=security(url),
        consumer_only=consumer_only,
        apply_types=False,
        logger=None,
    )


def refused(error: BaseException) -> bool:
    """Whether it says that Kafka does not want us, or not like this."""
    return isinstance(error, _REFUSED)


def _new_topic(topic: Topic, copies: int) -> NewTopic:
    configs = {
        "retention.ms": str(topic.keep.age_s * 1000),
        "retention.bytes": str(topic.keep.size),
        "max.message.bytes": str(MOST_BYTES),
        "min.insync.replicas": str(min(2, copies)),
    }
    return NewTopic(topic.name, _PARTITIONS, copies, topic_configs=configs)


def _servers(url: BrokerUrl) -> list[str]:
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in url.servers]

"""What a `broker_url` says: which kind of broker, where its servers are, who logs in, and how TLS is done."""

from typing import Literal, cast

from msgspec import Struct

from hotsku.server_url import TLS_FILES, parse_server_url

BrokerKind = Literal["streams", "amqp", "kafka", "nats"]

STREAMS = "streams"

_PORTS = {"amqp": 5672, "amqps": 5671, "kafka": 9092, "kafkas": 9092, "nats": 4222, "natss": 4222}
_TLS_SCHEMES = ("amqps", "kafkas", "natss")
_MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")


class BrokerUrl(Struct, frozen=True, kw_only=True):
    """A broker URL in its parts.

    Attributes:
        servers: (host, port) of some servers of the broker; the first that answers is taken.
        vhost: RabbitMQ's virtual host.
        options: TLS files as redis-py names them (`ssl_ca_certs`, ...), and `sasl`, Kafka's way of logging in.
    """

    kind: BrokerKind
    servers: tuple[tuple[str, int], ...] = ()
    username: str | None = None
    password: str | None = None
    vhost: str = "/"
    tls: bool = False
    options: dict[str, str] = {}


def parse_broker_url(url: str) -> BrokerUrl:
    """The parts of `streams`, or of `amqp://`, `kafka://` and `nats://`; with an s at the end they are TLS.

    Raises:
        ValueError: it is none of these.
    """
    if url == STREAMS:
        return BrokerUrl(kind="streams")
    parts = parse_server_url(url, _PORTS)
    tls = parts.scheme in _TLS_SCHEMES
    parsed = BrokerUrl(
        kind=cast(BrokerKind, parts.scheme.removesuffix("s") if tls else parts.scheme),
        servers=parts.servers,
        username=parts.username,
        password=parts.password,
        vhost=parts.path or "/",
        tls=tls,
        options=parts.options,
    )
    with_login = parsed.kind == "kafka" and parsed.username
    parts.check_options((*(TLS_FILES if tls else ()), *(("sasl",) if with_login else ())))
    good = (
        parsed.options.get("sasl", "plain") in _MECHANISMS
        and (parsed.kind == "amqp" or not parts.path)
        # NATS takes a token in the place of a user.
        and (parsed.password is not None or parsed.username is None or parsed.kind == "nats")
    )
    if not good:
        raise ValueError
    return parsed

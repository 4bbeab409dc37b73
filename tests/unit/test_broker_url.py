"""What a `broker_url` says, and what is none."""

import pytest

from hotsku.broker_url import BrokerUrl, parse_broker_url


def test_its_parts() -> None:
    assert parse_broker_url("streams") == BrokerUrl(kind="streams")
    assert parse_broker_url("amqps://us%3Aer:p%40ss@h1:1,[::1]/a%2Fb?ssl_ca_certs=ca.pem") == BrokerUrl(
        kind="amqp",
        servers=(("h1", 1), ("::1", 5671)),
        username="us:er",
        password="p@ss",
        vhost="a/b",
        tls=True,
        options={"ssl_ca_certs": "ca.pem"},
    )
    assert parse_broker_url("amqp://h") == BrokerUrl(kind="amqp", servers=(("h", 5672),))
    assert parse_broker_url("kafka://h1,h2:9093") == BrokerUrl(kind="kafka", servers=(("h1", 9092), ("h2", 9093)))
    assert parse_broker_url("kafkas://u:@h?sasl=plain").options == {"sasl": "plain"}
    assert parse_broker_url("nats://token@h/") == BrokerUrl(kind="nats", servers=(("h", 4222),), username="token")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "stream",
        "redis://h",
        "AMQP://h",
        "amqp://",
        "amqp://h:0",
        "amqp://h:70000",
        "amqp://h:port",
        "amqp://user@h",
        "amqp://h?heartbeat=1",
        "amqp://h?ssl_ca_certs=ca.pem",
        "amqps://h?ssl_certfile=c.pem",
        "amqp://h#x",
        "kafka://h/topic",
        "kafka://h,,h",
        "kafka://user:secret@h?sasl=gssapi",
        "kafka://h?sasl=plain",
        "nats://h/subject",
        "nats://h\n",
        "nats://ho st",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        parse_broker_url(url)

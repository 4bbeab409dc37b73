"""What each setting may be, and how a value is shown to people."""

import re
from importlib.util import find_spec

from pydantic_core import PydanticCustomError

from hotsku.broker_url import parse_broker_url
from hotsku.shard_url import parse_shard_url

# What each setting may be, as words that complete "<setting> must be ...".
ALLOWED = {
    "shard_url": "embedded:PATH, unix:///PATH, redis://HOST, redis+sentinel://HOST,HOST.../MASTER or "
    "redis+cluster://HOST,HOST... (rediss is TLS, valkey means the same; a HOST may be USER:PASSWORD@HOST:PORT)",
    "ledger_url": "sqlite:///PATH, postgresql://HOST/DATABASE or mysql://HOST/DATABASE (mariadb means the same; "
    "a HOST may be USER:PASSWORD@HOST:PORT; docs/operations.md lists the options of TLS)",
    "broker_url": "streams, amqp://HOST[/VHOST], kafka://HOST,HOST... or nats://HOST,HOST... (amqps, kafkas and natss "
    "are TLS; a HOST may be USER:PASSWORD@HOST:PORT)",
    "namespace": "1 to 16 characters of a-z 0-9 _ -",
    "durability": "durable or fast",
    "shard_timeout_ms": "an integer from 100 to 60000",
    "replica_acks": "an integer from 0 to 5",
    "quarantine_ms": "an integer from 60000 to 86400000",
    "relay_max_events": "an integer from 1 to 5000",
    "relay_interval_ms": "an integer from 10 to 60000",
    "receipt_keys": "ID:SECRET[,ID:SECRET...] (the first signs, all verify) or @FILE",
    "api_keys": "ROLE:SECRET[,ROLE:SECRET...] with the roles sell, admin and read, each SECRET once and without "
    "spaces, or @FILE",
    "http_max_in_flight": "an integer from 1 to 1000000",
    "http_max_waiting": "an integer from 0 to 1000000",
    "http_deadline_ms": "an integer from 100 to 600000",
    "http_rate_limit": "an integer from 0 to 10000000",
    "http_tls_cert": "the path of a PEM file",
    "http_tls_key": "the path of a PEM file",
    "otel": "true or false",
}
ENV_PREFIX = "HOTSKU_"
# Of an API key that strangers may guess at.
MIN_KEY_LENGTH = 16
# The type of the error of a value that needs an extra which is not there.
MISSING_EXTRA = "missing_extra"
SECRET = {"receipt_keys", "api_keys"}


def with_variable(setting: str) -> str:
    """A setting with its environment variable: for errors that are found when nobody knows any more where the value is
    from."""
    return f"{setting} ({ENV_PREFIX}{setting.upper()})"


def check_shard_url(url: str) -> str:
    """`url`, if it is one of a shard; a ValueError otherwise."""
    parse_shard_url(url)
    return url


def check_broker_url(url: str) -> str:
    """`url`, if it is one of a broker; a ValueError otherwise."""
    parse_broker_url(url)
    return url


def check_number(value: object) -> object:
    """`value`, if it is an integer or one's digits, as the environment has them; true and 1.0 are neither."""
    if type(value) is int or (type(value) is str and re.fullmatch(r"[0-9]{1,9}", value)):
        return value
    raise ValueError


def check_flag(value: object) -> object:
    """`value`, if it is true or false, also as a word, as the environment has them; 1 and "yes" are neither."""
    word = value.lower() if type(value) is str else value
    if type(word) is bool or word in ("true", "false"):
        return word
    raise ValueError


def check_otel(otel: bool) -> bool:
    """`otel`, unless what it needs is absent."""
    if otel and not _has_opentelemetry():
        raise PydanticCustomError(MISSING_EXTRA, "OpenTelemetry is not installed; the extra hotsku[otel] brings it")
    return otel


def _has_opentelemetry() -> bool:
    try:
        return find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


def default_ledger_url(values: dict[str, object]) -> str:
    """The ledger of an embedded folder lies in the folder."""
    shard_url = str(values["shard_url"])
    folder = shard_url.removeprefix("embedded:") if shard_url.startswith("embedded:") else "./.hotsku"
    return f"sqlite:///{folder.rstrip('/')}/ledger.db"


def shown(value: object) -> str:
    """`value` for an error: one short line of ASCII, without a password."""
    text = ascii(shown_url(value) if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def shown_url(url: str) -> str:
    """`url` without who logs in, and with what."""
    without = re.sub(r"://.*@", "://***@", url, flags=re.DOTALL)
    return re.sub(r"(password=)[^&]*", r"\1***", without)

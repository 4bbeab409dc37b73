"""What each setting may be, and how a value is shown to people."""

import re
from urllib.parse import urlsplit

# What each setting may be, as words that complete "<setting> must be ...".
ALLOWED = {
    "shard_url": "embedded:PATH, unix:///PATH, redis://HOST[:PORT][/DB] or valkey://HOST[:PORT][/DB]",
    "ledger_url": "sqlite:///PATH, a file",
    "broker_url": "streams",
    "namespace": "1 to 16 characters of a-z 0-9 _ -",
    "durability": "durable or fast",
    "relay_max_events": "an integer from 1 to 5000",
    "relay_interval_ms": "an integer from 10 to 60000",
    "receipt_keys": "ID:SECRET[,ID:SECRET...] (the first signs, all verify) or @FILE",
    "api_keys": "ROLE:SECRET[,ROLE:SECRET...] with the roles sell, admin and read, or @FILE",
}
SECRET = {"receipt_keys", "api_keys"}

# Schemes of the public interface that this version does not have yet.
LATER = {
    "shard_url": ("rediss", "valkeys", "redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
    "ledger_url": ("postgresql", "postgres", "mysql", "mariadb"),
    "broker_url": ("amqp", "amqps", "kafka", "nats"),
}


def check_shard_url(url: str) -> str:
    """`url`, if this version can use it as a shard; a ValueError otherwise."""
    if url.startswith("embedded:"):
        return _plain(url, path=url.removeprefix("embedded:"))
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ValueError
    if parts.scheme == "unix" and not parts.hostname:
        return _plain(url, path=parts.path.strip("/"))
    port_is_good = parts.port is None or parts.port > 0  # a port that is no port is urlsplit's ValueError
    if parts.scheme in ("redis", "valkey") and parts.hostname and port_is_good and re.fullmatch(r"(/\d*)?", parts.path):
        return _plain(url, path=parts.hostname)
    raise ValueError


def check_ledger_url(url: str) -> str:
    """`url`, if this version can use it as a ledger; a ValueError otherwise."""
    path = url.removeprefix("sqlite:///")
    if path == url or path == ":memory:":  # a database in memory has one process, a ledger has many
        raise ValueError
    return _plain(url, path=path)


def _plain(url: str, path: str) -> str:
    """`url`, if its `path` is a path and no part of it would be read as something else."""
    if not path or not url.isprintable() or set("?#%") & set(path):
        raise ValueError
    return url


def check_number(value: object) -> object:
    """`value`, if it is an integer or one's digits, as the environment has them; true and 1.0 are neither."""
    if type(value) is int or (type(value) is str and re.fullmatch(r"[0-9]{1,9}", value)):
        return value
    raise ValueError


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
    return re.sub(r"://.*@", "://***@", url, flags=re.DOTALL)

"""A server whose time the tests set: the library with the one function replaced that reads the server's clock."""

import re

import redis

from hotsku.shard import library

_CLOCK = re.compile(r"(local function server_ms\(\)\n).*?(\nend\n)", re.DOTALL)
KEY = "{test}:now"


def load(client: "redis.Redis") -> None:
    """Load the library, reading the time from a key."""
    source, replaced = _CLOCK.subn(rf"\1  return tonumber(redis.call('GET', '{KEY}'))\2", library.source())
    assert replaced == 1
    client.function_load(source, replace=True)


def set_time(client: "redis.Redis", now_ms: int) -> None:
    client.set(KEY, now_ms)

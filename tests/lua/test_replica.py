"""A promoted replica has the memory but not the fence: the old primary may still be selling from the same stock."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.lua.fence import assert_fenced
from tests.lua.partition import Partition, connect, order
from tests.support.servers import TestServer, redis_binary, running_server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _pair(kind: str) -> Iterator[tuple[TestServer, TestServer]]:
    binary = redis_binary() if kind == "redis7" else None
    if kind == "redis7" and binary is None:
        pytest.skip("no redis-server on PATH")
    port = _free_port()
    listens = ("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    follows = ("--replicaof", "127.0.0.1", str(port))
    with (
        running_server(binary=binary, extra=listens) as primary,
        running_server(binary=binary, extra=follows) as replica,
    ):
        yield primary, replica


@pytest.mark.parametrize("kind", ["valkey", "redis7"])
def test_promotion_of_a_replica(kind: str) -> None:
    with _pair(kind) as (primary, replica), connect(primary) as client:
        old = Partition.begun(client, stock=10)
        old.deduct(order("a"), order("b"))
        assert client.wait(1, 20_000) == 1
        with redis.Redis(unix_socket_path=str(replica.socket), socket_timeout=60) as replica_client:
            new = Partition(replica_client, int(old.keys.meta.split(".")[1]))
            assert (new.status()["seq"], "armed_seq" in new.status()) == (2, False)
            with pytest.raises(redis.ReadOnlyError):
                new.deduct(order("c"))
            replica_client.replicaof("NO", "ONE")
            assert new.memory() == old.memory()
            assert_fenced(new)
        # Nobody has told the old primary: it sells on, from what it holds.
        assert old.deduct(order("c")).codes == "A"

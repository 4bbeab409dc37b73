"""`hotsku serve`: the gateway and, where the shard is at a URL, the background workers."""

import asyncio
import logging
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from hotsku.app import absolute
from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, run, settings_of
from hotsku.clock import SystemClock
from hotsku.errors import BackendUnavailable, HotSKUError
from hotsku.log import log_json
from hotsku.settings import Settings

if TYPE_CHECKING:
    from hotsku.http.supervisor import Job, Kept

_RATE_LIMIT_ELSEWHERE = 5_000
_MOST_WORKERS = 64
# After the servers have answered: what was sold goes to the ledger.
_WORKER_PATIENCE_S = 60.0


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(serve)


def serve(
    host: Annotated[str, typer.Option(help="Where to listen; other than loopback needs api_keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65_535)] = 8000,
    workers: Annotated[int, typer.Option(help="Server processes.", min=1, max=_MOST_WORKERS)] = 1,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Serve the HTTP interface until Ctrl-C or SIGTERM; then answer what was accepted, and end."""
    from hotsku.http.supervisor import Failed

    output = Output(as_json)
    settings = absolute(settings_of(config, output))
    _check(settings, host)
    log_json(logging.WARNING)
    with _listening(host, port, workers) as sockets, ExitStack() as exits_:
        folder = Path(exits_.enter_context(tempfile.TemporaryDirectory(prefix="hotsku-")))
        address = _address(settings, host, sockets)
        try:
            ended_by = run(_serve(settings, sockets, folder, _rate_limit(settings, host), address, output))
        except Failed as failed:
            return failed.status or exits.Exit.UNAVAILABLE  # it has said why
    output.answer(
        {"address": address, "workers": workers, "ended_by": ended_by.name},
        lambda console: console.print(f"ended: {ended_by.name}"),
    )
    return exits.Exit.INTERRUPTED if ended_by is signal.SIGINT else exits.Exit.DONE


def _check(settings: Settings, host: str) -> None:
    """See that it may listen there, before anything is started."""
    # Imported where they are needed, here and below: the framework takes long to load, and other commands need none.
    from hotsku.http.keys import load_keys
    from hotsku.http.listening import is_loopback
    from hotsku.http.tls import tls_of

    keys = load_keys(settings.api_keys)
    if not is_loopback(host):
        keys.check_for_strangers(host)
    tls_of(settings)


@contextmanager
def _listening(host: str, port: int, workers: int) -> Iterator[list[socket.socket]]:
    from hotsku.http.listening import listen

    sockets = listen(host, port, workers)
    try:
        yield sockets
    finally:
        _close(sockets)


def _rate_limit(settings: Settings, host: str) -> int:
    from hotsku.http.listening import is_loopback

    if settings.http_rate_limit is not None:
        return settings.http_rate_limit
    return 0 if is_loopback(host) else _RATE_LIMIT_ELSEWHERE


def _address(settings: Settings, host: str, sockets: Sequence[socket.socket]) -> str:
    scheme = "https" if settings.http_tls_cert else "http"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{sockets[0].getsockname()[1]}"


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    folder: Path,
    rate_limit: int,
    address: str,
    output: Output,
) -> signal.Signals:
    from hotsku.http.supervisor import Kept, start_all

    clock = SystemClock()
    servers = [Kept(_server(settings, sockets, number, rate_limit, folder), clock) for number in range(len(sockets))]
    helpers = [] if settings.embedded_folder is not None else [Kept(_worker(settings, folder), clock)]
    signals = _Signals()
    starting = asyncio.create_task(start_all([*servers, *helpers]))
    ended = asyncio.create_task(signals.next())
    await asyncio.wait([starting, ended], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        await _started(starting, servers, helpers)
        output.say(f"hotsku: serving on {address} (documents at /docs, console at /console); Ctrl-C ends it")
    await ended
    starting.cancel()
    await asyncio.wait([starting])
    _close(sockets)  # ours, too: else the kernel went on to take connections that nobody answers
    ending = asyncio.create_task(_end(servers, helpers))
    again = asyncio.create_task(signals.next())
    await asyncio.wait([ending, again], return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        for each in (*servers, *helpers):
            each.kill()
    again.cancel()
    await ending
    return ended.result()


async def _started(starting: "asyncio.Task[None]", servers: "Sequence[Kept]", helpers: "Sequence[Kept]") -> None:
    """See that all have started. Where one could not, the others have taken requests: they end in order."""
    try:
        starting.result()
    except HotSKUError:
        with suppress(BackendUnavailable):
            await _end(servers, helpers)
        raise


async def _end(servers: "Sequence[Kept]", helpers: "Sequence[Kept]") -> None:
    """The servers first: what they sell while they end is for the workers."""
    await asyncio.gather(*(each.stop() for each in servers))
    await asyncio.gather(*(each.stop() for each in helpers))


def _server(settings: Settings, sockets: Sequence[socket.socket], number: int, rate_limit: int, folder: Path) -> "Job":
    from hotsku.http.process import Orders
    from hotsku.http.server import ServerOptions
    from hotsku.http.supervisor import Job
    from hotsku.worker_counts import counts_file

    fd = sockets[number].fileno()
    options = ServerOptions(
        fd=fd,
        number=number,
        rate_limit_per_s=rate_limit,
        folder=str(folder) if len(sockets) > 1 else None,
        worker=str(counts_file(settings.embedded_folder or folder)),
    )
    told = msgspec.json.encode(Orders(_values(settings), options))
    patience_s = settings.http_deadline_ms / 1000 + 20.0
    return Job(f"server process {number}", "hotsku.http.process", told, fds=(fd,), patience_s=patience_s)


def _worker(settings: Settings, folder: Path) -> "Job":
    from hotsku.cli.own_workers import COUNTS_FOLDER
    from hotsku.http.supervisor import Job

    told = msgspec.json.encode(_values(settings) | {COUNTS_FOLDER: str(folder)})
    return Job("worker", "hotsku.cli.own_workers", told, says_ready=False, patience_s=_WORKER_PATIENCE_S)


def _values(settings: Settings) -> dict[str, object]:
    return msgspec.json.decode(settings.model_dump_json(exclude_none=True), type=dict[str, object])


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


class _Signals:
    """The signals that end it, in the order in which they come."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._received.put_nowait, number)

    async def next(self) -> signal.Signals:
        return await self._received.get()

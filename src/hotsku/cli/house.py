"""`hotsku worker`, `hotsku migrate`, `hotsku recover`, `hotsku version`."""

import asyncio
import hashlib
import logging
import platform
import signal
from typing import Annotated

import typer

import hotsku
from hotsku.app import ROLES, check_roles, migrate, recover, run_worker
from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, run, settings_of
from hotsku.log import log_json
from hotsku.settings import Settings
from hotsku.shard import library


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog=exits.HELP)(worker)
    app.command("migrate", epilog=exits.HELP)(migrate_)
    app.command("recover", epilog=exits.HELP)(recover_)
    app.command()(version)


def worker(
    roles: Annotated[str, typer.Option(help=f"Some of {', '.join(ROLES)}, with commas.")] = ",".join(ROLES),
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve metrics for Prometheus on this port.", min=1, max=65_535)
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Where; nobody is asked for a key.")] = "127.0.0.1",
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Run background workers until Ctrl-C or SIGTERM; in an embedded folder also until nobody uses it any more."""
    output = Output(as_json)
    settings = settings_of(config, output)
    chosen = check_roles(roles)
    log_json(logging.INFO)
    output.say(f"hotsku: working as {', '.join(chosen)}; Ctrl-C ends it")
    stopped_by = run(_work(settings, chosen, None if metrics_port is None else (metrics_host, metrics_port)))
    ended_by = stopped_by.name if stopped_by else "nobody uses the folder"
    output.answer({"roles": chosen, "ended_by": ended_by}, lambda console: console.print(f"ended: {ended_by}"))
    return exits.Exit.INTERRUPTED if stopped_by is signal.SIGINT else exits.Exit.DONE


async def _work(settings: Settings, roles: list[str], metrics: tuple[str, int] | None) -> signal.Signals | None:
    stop = asyncio.Event()
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    if metrics is None:
        await run_worker(settings, roles, stop=stop)
    else:
        from hotsku.http.worker_metrics import worker_metrics

        await run_worker(settings, roles, stop=stop, watch=worker_metrics(*metrics))
    return received[0] if received else None


def migrate_(
    post: Annotated[
        bool, typer.Option("--post", help="After the deploy: take away what only earlier versions need of the ledger.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Bring the ledger's tables and the shard's function library up to date. Done before: nothing happens."""
    output = Output(as_json)
    settings = settings_of(config, output)
    ledger_id = run(migrate(settings, post=post))
    words = "has nothing left of earlier versions" if post else "and function library are up to date"
    output.answer(
        {"ledger_id": ledger_id, "library": _library()}, lambda console: console.print(f"ledger {ledger_id} {words}")
    )
    return exits.Exit.DONE


def recover_(as_json: AsJson = False, config: Config = None) -> int:
    """Let partitions that stay fenced sell again, under a new incarnation. Workers do so by themselves, some seconds
    later; units whose sales may have been forgotten wait for `quarantine_ms`."""
    output = Output(as_json)
    recovered = run(recover(settings_of(config, output)))
    words = "every partition sells" if recovered else "some partitions do not sell yet: `hotsku partitions` says which"
    output.answer({"recovered": recovered}, lambda console: console.print(words))
    return exits.Exit.DONE if recovered else exits.Exit.NO


def version(as_json: AsJson = False, config: Config = None) -> int:
    """Say which version this is: of hotsku, of its function library, and of Python."""
    versions = {
        "version": hotsku.__version__,
        "library": _library(),
        "python": platform.python_version(),
    }
    Output(as_json).answer(
        versions,
        lambda console: console.print(
            f"hotsku {versions['version']}, function library {versions['library']}, Python {versions['python']}",
            highlight=False,
        ),
    )
    return exits.Exit.DONE


def _library() -> str:
    """A short name of the function library's source."""
    return hashlib.sha256(library.source().encode()).hexdigest()[:12]

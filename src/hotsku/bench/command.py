"""`hotsku bench`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, run
from hotsku.clock import SystemClock
from hotsku.errors import InvalidSettings
from hotsku.settings import load_settings

_QUICK_ROUNDS, _QUICK_SECONDS = 3, 0.5
_ROUNDS, _SECONDS = 5, 2.0
_NAMES = ("single", "bulk", "locks", "drain", "reject", "growth", "memory", "open-loop")
_SCALING = ("costs", "brokers", "masters")  # what docs/scaling.md computes with


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(bench)


def bench(
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Some of {', '.join(_NAMES)}, by default all of these; or {', '.join(_SCALING)}.", show_default=False
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds of each side; medians are shown. 5, quick 3.", min=1)
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds of a round. 2, quick 0.5.", min=0.05)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, in under 3 minutes.")] = False,
    drain_table: Annotated[int, typer.Option(help="Drain also into a table of so many rows.", min=0)] = 0,
    postgres: Annotated[
        str, typer.Option(envvar="HOTSKU_TEST_POSTGRES_URL", help="A database to make tables in.")
    ] = "postgresql://postgres@127.0.0.1:5432/test",
    mariadb: Annotated[
        str, typer.Option(envvar="HOTSKU_TEST_MARIADB_URL", help="A database to make tables in.")
    ] = "mariadb://root@127.0.0.1:3306/test",
    rabbitmq: Annotated[str, typer.Option(help="A RabbitMQ to make queues in.")] = "amqp://127.0.0.1:5672",
    nats: Annotated[
        str, typer.Option(help="A NATS server with JetStream to make a stream in.")
    ] = "nats://127.0.0.1:4222",
    out: Annotated[Path | None, typer.Option(help="Also write report.json, tables.md and charts there.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Measure every rung of the ladder side by side, on servers of its own; databases that do not answer are left out.

    It sells on back ends of its own in temporary folders, durable, whatever the settings name. A quiet machine gives
    steadier figures; ratios hold better than figures on a busy one, for all sides take turns.
    """
    try:
        from hotsku.bench import charts, tables
        from hotsku.bench.rounds import Plan
        from hotsku.bench.run import SECTIONS, run_all
    except ModuleNotFoundError as error:
        raise InvalidSettings(f"bench needs {error.name}; pip install 'hotsku[bench]'") from None
    names = list(sections or _NAMES)
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise exits.UsageError(f"sections must be some of {', '.join(SECTIONS)}, not {ascii(unknown[0])[:40]}")
    output = Output(as_json)
    plan = Plan(
        rounds=rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
        seconds=seconds or (_QUICK_SECONDS if quick else _SECONDS),
        quick=quick,
        clock=SystemClock(),
        say=output.say,
        urls={"postgresql": postgres, "mariadb": mariadb},
        brokers={"rabbitmq": rabbitmq, "nats": nats},
        drain_table=drain_table,
        settings=load_settings(config),
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the run: it would be a pity after it
    report = run(run_all(plan, names))
    if out is not None:
        (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        (out / "tables.md").write_text(tables.markdown(report), "utf-8")
        charts.write_charts(report, out)
        output.say(f"hotsku: wrote report.json, tables.md and charts to {out}")
    output.answer(report, lambda console: tables.show(console, report))
    return exits.Exit.DONE

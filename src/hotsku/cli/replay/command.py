"""`hotsku replay`: sells an order log again, every line answered, and holds the answers against the ledger."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from hotsku.app import absolute, connect
from hotsku.cli import exits
from hotsku.cli.ledger_truth import settle
from hotsku.cli.output import Output
from hotsku.cli.own_workers import own_workers
from hotsku.cli.progress import progress_bar
from hotsku.cli.replay.log import BadLine, read_log
from hotsku.cli.replay.pace import Pace, parse_speed
from hotsku.cli.replay.report import ReplayResult, Stand, result, show
from hotsku.cli.replay.selling import LogSeller, open_items
from hotsku.cli.replay.stock import parse_stock
from hotsku.cli.replay.tally import ReplayTally
from hotsku.cli.running import AsJson, Config, ctrl_c, run, settings_of
from hotsku.clock import SystemClock
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings

_PROGRESS_EVERY_S = 0.1


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(replay)


def replay(
    file: Annotated[
        Path,
        typer.Argument(
            help="The log: CSV with a header, or JSON lines; at, sku, quantity, order_id, buyer_id.", show_default=False
        ),
    ],
    stock: Annotated[
        list[str] | None,
        typer.Option(
            help="Units of items that do not exist yet: SKU=UNITS, or a CSV file with sku and stock. Repeatable."
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="max, or how many times faster than the log: 1, 10, ...")] = "max",
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Sell an order log again. Every line is answered; bad lines are rejected and named.

    Exit status 0: every line is answered, and the ledger and the audit agree. The same log again sells nothing twice.
    """
    output = Output(as_json)
    settings = absolute(settings_of(config, output))
    units, factor = parse_stock(stock or []), parse_speed(speed)
    return run(_Replay(file, units, factor, output).run(settings))


class _Replay:
    """One run of a replay."""

    def __init__(self, file: Path, units: dict[str, int], speed: float | None, output: Output) -> None:
        self._file = file
        self._units = units
        self._speed = speed
        self._output = output
        self._clock = SystemClock()
        self._tally = ReplayTally()

    async def run(self, settings: Settings) -> int:
        """Read the log once for its items, sell it in a second reading, report."""
        skus = self._survey()
        async with ctrl_c() as stop, own_workers(settings), connect(settings) as stock:
            sold_before = await open_items(stock, skus, self._units)
            self._output.say(f"hotsku: replaying {self._tally.lines:,} lines over {len(skus):,} items")
            seconds = await self._sell(stock, stop)
            report = await self._report(stock, sold_before, seconds, interrupted=stop.is_set())
        self._output.answer(report, lambda console: show(console, report))
        if report.interrupted:
            return exits.Exit.INTERRUPTED
        return exits.Exit.DONE if report.ok else exits.Exit.NO

    def _survey(self) -> list[str]:
        """Count the lines; the items that the good ones name, as they come."""
        skus: dict[str, None] = {}
        for line in read_log(self._file):
            self._tally.lines += 1
            if not isinstance(line, BadLine):
                skus[line.sku] = None
        return list(skus)

    async def _sell(self, stock: Inventory, stop: asyncio.Event) -> float:
        """Sell the log; the seconds from its first line to its last answer."""
        began_ms = self._clock.monotonic_ms()
        pace = Pace(self._speed, began_ms)
        seller = LogSeller(stock, read_log(self._file), self._tally, pace, self._clock)
        with progress_bar(self._output, "replaying", self._tally.lines) as done:
            selling = asyncio.create_task(seller.run(stop))
            try:
                while not selling.done():
                    await asyncio.wait([selling], timeout=_PROGRESS_EVERY_S)
                    done(self._tally.answered)
                await selling
            finally:
                selling.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await selling
        return (self._clock.monotonic_ms() - began_ms) / 1000

    async def _report(
        self, stock: Inventory, sold_before: dict[str, int], seconds: float, *, interrupted: bool
    ) -> ReplayResult:
        self._output.say("hotsku: waiting until the ledger has everything")
        lag = await settle(stock, list(sold_before), self._clock, lambda _: None)
        audit = await stock.audit()
        stands = {}
        for sku, before in sold_before.items():
            view = await stock.item(sku)
            stands[sku] = Stand(view.total, view.sold, before)
        return result(
            self._tally,
            stands,
            problems=[str(problem) for problem in audit.problems],
            lag=lag,
            seconds=seconds,
            interrupted=interrupted,
        )

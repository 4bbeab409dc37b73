"""`hotsku demo`: many buyers fight over one item, and the ledger is held against what each of them was told."""

import secrets
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer

from hotsku.app import absolute, connect
from hotsku.cli import exits
from hotsku.cli.demo.figures import Figures, Sale, Truth, figures
from hotsku.cli.demo.fleet import Fleet
from hotsku.cli.demo.plan import make_plan
from hotsku.cli.demo.screen import show
from hotsku.cli.demo.wire import Start, order_number
from hotsku.cli.ledger_truth import details, reading_ledger, settle
from hotsku.cli.output import Output
from hotsku.cli.own_workers import own_workers
from hotsku.cli.progress import progress_bar
from hotsku.cli.running import AsJson, Config, ctrl_c, run, settings_of
from hotsku.clock import SystemClock
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(demo)


def demo(
    buyers: Annotated[int, typer.Option(min=1, max=10_000_000, help="Buyers, one order each.")] = 200_000,
    stock: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Units on sale.")] = 10_000,
    partitions: Annotated[int, typer.Option(min=1, max=1024, help="Slices of the stock.")] = 8,
    max_quantity: Annotated[int, typer.Option(min=1, max=1000, help="Each order is for 1 to so many units.")] = 1,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Client processes.")] = 2,
    callers: Annotated[int, typer.Option(min=1, max=65_536, help="Concurrent callers in all.")] = 512,
    seed: Annotated[int | None, typer.Option(help="Who buys what, and when; by default another each time.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Sell one fresh item to many buyers, and prove that every unit was sold exactly once.

    At least 5 % of all requests repeat an order on purpose, some at the same moment from another process. Exit status 0
    only if all is exact.
    """
    output = Output(as_json)
    settings = absolute(settings_of(config, output))
    plan = _Demo(buyers, stock, partitions, max_quantity, processes, callers, seed)
    return run(plan.run(settings, output))


class _Demo:
    """One run of the demo."""

    def __init__(
        self,
        buyers: int,
        stock: int,
        partitions: int,
        max_quantity: int,
        processes: int,
        callers: int,
        seed: int | None,
    ) -> None:
        self._clock = SystemClock()
        self._seed = secrets.randbelow(10**9) if seed is None else seed
        self._plan = make_plan(buyers=buyers, max_quantity=max_quantity, processes=processes, seed=self._seed)
        self._stock = stock
        self._partitions = partitions
        self._callers = max(1, callers // processes)
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        self._sku = f"demo-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

    async def run(self, settings: Settings, output: Output) -> int:
        """Sell, settle, report."""
        async with ctrl_c() as stop, own_workers(settings), connect(settings) as stock:
            await stock.create_item(self._sku, self._stock, partitions=self._partitions)
            output.say(f"hotsku: selling {self._stock:,} units of {self._sku} to {len(self._plan.quantities):,} buyers")
            with progress_bar(output, "selling", self._plan.requests) as progress:
                fleet = Fleet(self._plan, self._start(settings), self._clock, progress)
                await fleet.run(stop)
            interrupted = stop.is_set()
            result = await self._report(settings, stock, fleet, output, interrupted=interrupted)
        output.answer(result, lambda console: show(console, result, fleet.tally.curve))
        if interrupted:
            return exits.Exit.INTERRUPTED
        return exits.Exit.DONE if result.exact else exits.Exit.NO

    def _start(self, settings: Settings) -> Start:
        values = settings.model_dump(exclude_none=True)
        return Start(settings=values, sku=self._sku, callers=self._callers)

    async def _report(
        self, settings: Settings, stock: Inventory, fleet: Fleet, output: Output, *, interrupted: bool
    ) -> Figures:
        began_ms = self._clock.monotonic_ms()
        output.say("hotsku: waiting until the ledger has everything")
        lag = await settle(stock, [self._sku], self._clock, lambda _: None)
        sale = Sale(
            sku=self._sku,
            seed=self._seed,
            stock=self._stock,
            quantities=self._plan.quantities,
            seconds=fleet.seconds,
            settling_s=(self._clock.monotonic_ms() - began_ms) / 1000,
            restarts=fleet.restarts,
            interrupted=interrupted,
        )
        return figures(sale, fleet.tally, await _truth(settings, stock, self._sku, lag))


async def _truth(settings: Settings, stock: Inventory, sku: str, lag: int) -> Truth:
    report = await stock.audit(sku)
    units: dict[int, int] = {}
    rows: Counter[int] = Counter()
    async with reading_ledger(settings) as ledger:
        async for row in details(ledger, sku):
            order = order_number(row.order_id)
            rows[order] += 1
            units[order] = units.get(order, 0) + row.quantity
    return Truth(
        sold=(await stock.item(sku)).sold,
        details=units,
        doubled={order for order, count in rows.items() if count > 1},
        lag=lag,
        audit_ok=report.ok,
        problems=[str(problem) for problem in report.problems],
    )

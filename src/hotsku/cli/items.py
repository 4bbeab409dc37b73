"""`hotsku item create | show | list | archive`, and the group that the other commands of items are in."""

from datetime import datetime, timedelta
from typing import Annotated, get_args

import typer

from hotsku.cli import changing, exits
from hotsku.cli.ledger_truth import reading_ledger
from hotsku.cli.output import Output
from hotsku.cli.progress import progress_bar
from hotsku.cli.running import AsJson, Config, Sku, run, settings_of, with_stock
from hotsku.cli.tables import items_table, show_item
from hotsku.cli.times import RFC_3339, parse_rfc3339
from hotsku.clock import SystemClock
from hotsku.domain.item import Routing
from hotsku.engine.inventory import Inventory
from hotsku.errors import InvalidRequest, UnknownItem

# One transaction: other work on the ledger waits no longer than for this.
_ROWS_A_STEP = 5_000

_group = typer.Typer(help="Put items on sale, look at them, and change them.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    changing.register(_group)
    app.add_typer(_group, name="item")


@_group.command(epilog=exits.HELP)
def create(
    sku: Sku,
    total: Annotated[int, typer.Option(help="Units on sale.", show_default=False)],
    partitions: Annotated[int | None, typer.Option(help="How many slices; by default as the total needs.")] = None,
    limit_per_buyer: Annotated[int | None, typer.Option(help="Units that one buyer may have.")] = None,
    opens_at: Annotated[str | None, typer.Option(help=f"When the sale opens: {RFC_3339}.")] = None,
    closes_at: Annotated[str | None, typer.Option(help="When it closes.")] = None,
    hold_ttl: Annotated[int, typer.Option(help="How long a hold lasts, in seconds.", min=1)] = 900,
    routing: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(Routing))}.")] = "sticky",
    refund_restores_limit: Annotated[
        bool, typer.Option("--refund-restores-limit", help="A refunded buyer may buy again.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Put an item on sale. The same again is the same item; with other figures it is a conflict."""
    output = Output(as_json)
    window = _time("opens_at", opens_at), _time("closes_at", closes_at)

    async def work(stock: Inventory) -> int:
        view = await stock.create_item(
            sku,
            total,
            partitions=partitions,
            limit_per_buyer=limit_per_buyer,
            opens_at=window[0],
            closes_at=window[1],
            hold_ttl=timedelta(seconds=hold_ttl),
            routing=_routing(routing),
            refund_restores_limit=refund_restores_limit,
        )
        output.answer(view, lambda console: show_item(console, view))
        return exits.Exit.DONE

    return with_stock(config, output, work)


@_group.command(epilog=exits.HELP)
def show(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """Show an item and its figures."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        view = await stock.item(sku)
        output.answer(view, lambda console: show_item(console, view))
        return exits.Exit.DONE

    return with_stock(config, output, work)


@_group.command("list", epilog=exits.HELP)
def list_(
    after: Annotated[str | None, typer.Option(help="Only SKUs that sort after this one.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 100,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """List items by SKU."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        views = await stock.items(after, limit)
        output.answer({"items": views}, lambda console: console.print(items_table(views)))
        return exits.Exit.DONE

    return with_stock(config, output, work)


@_group.command(epilog=exits.HELP)
def archive(sku: Sku, as_json: AsJson = False, config: Config = None) -> int:
    """Move a closed item's details out of the tables that sales write to. Cut off, it goes on where it was."""
    output = Output(as_json)
    settings = settings_of(config, output)

    async def work() -> int:
        async with reading_ledger(settings) as ledger:
            item = await ledger.item(sku)
            if item is None:
                raise UnknownItem(sku)
            with progress_bar(output, "archiving", item.spec.total) as tell:
                moved, done = 0, False
                while not done:
                    step = await ledger.archive_item(item.id, _ROWS_A_STEP, SystemClock().now_ms())
                    moved, done = moved + step.moved, step.done
                    tell(moved)
        answer = {"sku": sku, "moved": moved}
        output.answer(answer, lambda console: console.print(f"{sku} is archived; {moved:,} rows were moved"))
        return exits.Exit.DONE

    return run(work())


def _time(field: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise InvalidRequest(field, f"{RFC_3339}, not {ascii(text)[:80]}") from None


def _routing(text: str) -> Routing:
    for routing in get_args(Routing):
        if text == routing:
            chosen: Routing = routing
            return chosen
    raise InvalidRequest("routing", f"one of {', '.join(get_args(Routing))}, not {ascii(text)[:80]}")

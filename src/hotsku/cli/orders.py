"""`hotsku order show`, and an order in words."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, Sku, with_stock
from hotsku.cli.tables import table
from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.engine.inventory import Inventory
from hotsku.engine.views import OrderEvent

_group = typer.Typer(help="Look at orders.", rich_markup_mode=None)

Buyer = Annotated[str, typer.Option(help="Who buys.", metavar="ID")]


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_group, name="order")


@_group.command("show", epilog=exits.HELP)
def show(
    sku: Sku,
    order: Annotated[str, typer.Argument(help="The order.", show_default=False)],
    buyer: Buyer = "",
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Say what became of an order, and every step that it took as far as the ledger has it."""
    output = Output(as_json)

    async def work(stock: Inventory) -> int:
        deduction = await stock.order(sku, order, buyer)
        events = await stock.order_history(sku, order, buyer)
        output.answer(facts(deduction) | {"history": events}, lambda console: _show(console, deduction, events))
        return exits.Exit.NO if deduction.outcome is Outcome.NOT_FOUND else exits.Exit.DONE

    return with_stock(config, output, work)


def facts(deduction: Deduction) -> dict[str, object]:
    """A deduction as JSON has it."""
    told = msgspec.structs.asdict(deduction)
    del told["proof"]
    return told | {"receipt": deduction.receipt}


def sentence(deduction: Deduction) -> str:
    """A deduction in words."""
    d = deduction
    order = f"order {d.order_id}" + (f" of buyer {d.buyer_id}" if d.buyer_id else "")
    if d.outcome is Outcome.NOT_FOUND:
        hint = "" if d.buyer_id else "; was it made with a buyer? then name it with --buyer"
        return f"not found: {d.sku} has no {order}{hint}"
    words = f"{d.outcome.replace('_', ' ')}: {d.quantity} of {d.sku} to {order}"
    if d.state is None:
        return words if d.available is None else f"{words}, {d.available} left"
    earlier = " (by an earlier attempt)" if d.replayed else ""
    return f"{words}, {d.state}{_details(d)}{earlier}"


def _details(d: Deduction) -> str:
    words = ""
    if d.state is OrderState.HELD and d.expires_at is not None:
        words += f" until {d.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    if d.payment_ref:
        words += f", paid by {d.payment_ref}"
    if d.refunded:
        words += f", {d.refunded} refunded"
    return words


def _show(console: Console, deduction: Deduction, events: Iterable[OrderEvent]) -> None:
    console.print(sentence(deduction), markup=False, highlight=False)
    made = table("history", "at (UTC)", "event", "until", "payment", "units", "partition", "event no", left=4)
    for event in events:
        until = "" if event.expires_at is None else f"{event.expires_at:%Y-%m-%d %H:%M:%S}"
        place = (f"{event.quantity:,}", str(event.partition), f"{event.incarnation}-{event.seq}")
        made.add_row(f"{event.at:%Y-%m-%d %H:%M:%S}", event.kind, until, event.payment_ref or "", *place)
    if made.row_count:
        console.print(made)

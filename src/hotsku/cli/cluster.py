"""`hotsku cluster`: a Valkey cluster on this machine, without containers."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct
from rich.console import Console

from hotsku.cli import exits
from hotsku.cli.output import Output
from hotsku.cli.running import AsJson, Config, run
from hotsku.cli.tables import table
from hotsku.settings import load_settings
from hotsku.shard.cluster_launcher import ClusterFolder
from hotsku.shard.cluster_node import ClusterNode
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.shard.cluster_view import Health

_ENDING = (signal.SIGINT, signal.SIGTERM)


class NodeRow(Struct, frozen=True):
    """A node, as the command shows it. `replica_of` is a master's address, `slots` are (first, last)."""

    address: str
    role: str
    replica_of: str | None
    slots: tuple[tuple[int, int], ...]
    pid: int | None


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(epilog=exits.HELP)(cluster)


def cluster(
    folder: Annotated[Path, typer.Argument(help="Where its files are, and stay.", show_default=False)],
    masters: Annotated[int | None, typer.Option(help="How many, 1 to 16; 3 in a new folder.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Of each master, 0 to 3; 1 in a new folder.")] = None,
    base_port: Annotated[
        int | None, typer.Option(help="The first node's port; otherwise a free range is found, and remembered.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> int:
    """Run a Valkey cluster on loopback until Ctrl-C or SIGTERM, and say its shard_url.

    A node that dies starts again after its replica had time to take over. The folder keeps the data for the next time.
    """
    output = Output(as_json)
    spec = ClusterSpec(
        masters=masters, replicas=replicas, base_port=base_port, durability=load_settings(config).durability
    )
    stopped_by = run(_serve(ClusterFolder(folder, spec), output))
    return exits.Exit.INTERRUPTED if stopped_by is signal.SIGINT else exits.Exit.DONE


async def _serve(folder: ClusterFolder, output: Output) -> signal.Signals:
    received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, _set_once, received, number)
    starting = asyncio.ensure_future(folder.start())
    await asyncio.wait((starting, received), return_when=asyncio.FIRST_COMPLETED)
    if received.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return await received
    await starting
    try:
        _announce(folder, await folder.health(), output)
        keeping = asyncio.ensure_future(folder.keep_alive(output.say))
        await received
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await folder.stop()
    return received.result()


def _set_once(received: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not received.done():
        received.set_result(number)


def _announce(folder: ClusterFolder, health: Mapping[ClusterNode, Health], output: Output) -> None:
    rows = node_rows(health)
    output.answer(
        {"shard_url": folder.url, "folder": str(folder.path), "nodes": rows},
        lambda console: _show(console, folder, rows),
    )
    output.say("hotsku: the cluster runs until Ctrl-C; its folder keeps the data")


def node_rows(health: Mapping[ClusterNode, Health]) -> list[NodeRow]:
    """One row a node, in the order of the ports."""
    addresses = {own.id: node.address for node, own in health.items()}
    rows = []
    for node, own in health.items():
        seen = next(seen for seen in own.seen if seen.id == own.id)
        role = "replica" if seen.master_id else "master"
        rows.append(NodeRow(node.address, role, addresses.get(seen.master_id), seen.slots, node.pid))
    return rows


def _show(console: Console, folder: ClusterFolder, rows: list[NodeRow]) -> None:
    made = table(f"cluster in {folder.path}", "node", "role", "replica of", "slots", "pid", left=4)
    for row in rows:
        slots = ", ".join(f"{first}-{last}" for first, last in row.slots)
        made.add_row(row.address, row.role, row.replica_of or "", slots, str(row.pid or ""))
    console.print(made)
    console.print(f"shard_url = {folder.url}", highlight=False, soft_wrap=True)

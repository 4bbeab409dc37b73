"""Can a sale start tonight? Looks at every back end, says what it found, and stops at nothing."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import Struct

from hotsku.app import absolute, connect, reach
from hotsku.errors import HotSKUError
from hotsku.settings import Settings
from hotsku.shard.address import Address
from hotsku.shard.facts import Facts
from hotsku.shard.shards import Shards
from hotsku.stack import open_admin, open_stack

_NO_REPLICA = "no replica: the loss of its disk loses what the ledger does not have yet"

SocketOf = Callable[[], Path] | None


class Finding(Struct, frozen=True):
    """One thing looked at. `ok` False is in the way of a sale; `says` is one line for people."""

    what: str
    ok: bool
    says: str


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the shards' servers, the ledger, the broker, the partitions and the audit, in this order. What follows
    from a back end that cannot be used is left out."""
    settings = absolute(settings)
    async with AsyncExitStack() as exits:
        try:
            socket_of = await exits.enter_async_context(reach(settings, own_worker=True))
            shards = await exits.enter_async_context(open_admin(settings, socket_of))
        except HotSKUError as error:
            yield Finding("shards", False, str(error))
            return
        for server, facts in await shards.servers():
            yield _server(settings, shards, server, facts)
        try:
            stack = await exits.enter_async_context(open_stack(settings, socket_of))
        except HotSKUError as error:
            yield Finding("stack", False, str(error))
            return
        yield Finding("ledger", True, f"ledger {stack.ledger.ledger_id}, its schema and the function library fit")
        try:
            async with stack.broker():
                yield Finding("broker", True, "connected")
        except HotSKUError as error:
            yield Finding("broker", False, str(error))
    async for finding in _sale(settings):
        yield finding


async def _sale(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with connect(settings) as stock:
            states: Counter[str] = Counter()
            after = None
            while items := await stock.items(after):
                for item in items:
                    states.update(view.state for view in await stock.partitions(item.sku))
                after = items[-1].sku
            found = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none yet"
            yield Finding("partitions", not states.keys() & {"fenced", "recovering", "unreachable"}, found)
            report = await stock.audit()
            says = "every equation holds" if report.ok else f"{report.failed} equations fail: see `hotsku audit`"
            yield Finding("audit", report.ok, says)
    except HotSKUError as error:
        yield Finding("sale", False, str(error))


def _server(settings: Settings, shards: Shards, server: Address, facts: Facts | HotSKUError) -> Finding:
    if isinstance(facts, HotSKUError):
        return Finding(f"server {server.name}", False, str(facts))
    lacks = facts.lacks(settings.durability)
    if lacks:
        wanted = ", ".join(f"{name} {value}, not {facts.settings.get(name)}" for name, value in lacks.items())
        return Finding(f"server {server.name}", False, f"durability {settings.durability} needs {wanted}")
    words = [
        "master" if facts.master else "replica",
        f"appendfsync {facts.settings.get('appendfsync')}",
        f"{facts.settings.get('maxmemory-policy')}",
    ]
    if facts.master:
        copies = shards.copies_of(server)
        words += [
            f"{len(facts.replicas)} replicas" if facts.replicas else _NO_REPLICA,
            f"min-replicas-to-write {facts.settings.get('min-replicas-to-write')}",
            f"a sale waits for {copies.replicas} of them" if copies else "a sale waits for this server alone",
        ]
    return Finding(f"server {server.name}", True, "; ".join(words))

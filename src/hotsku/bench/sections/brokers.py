"""How many messages a second go through each kind of broker: published, kept, read and acknowledged."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from hotsku.bench.brokers import new_topic
from hotsku.bench.report import Chart, Figure, Measured, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.servers import open_shop
from hotsku.domain.events import Event, EventKind, PartitionRef, encode_message
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ports import Broker

NAME = "brokers"
PARTITIONS = 8
EVENTS = 500  # of a message: what the relay's count trigger gathers
_IN_FLIGHT = 64  # as the relay has


async def measure(plan: Plan, folder: Path) -> Section:
    """Messages of 500 events, 64 in flight, published and read by this process; the broker keeps them on disk."""
    messages = 200 if plan.quick else 1_000
    section = Section(name=NAME, title=f"Brokers: messages of {EVENTS} events, published, read and acknowledged")
    async with AsyncExitStack() as exits:
        shop = await exits.enter_async_context(open_shop(plan.settings, folder))
        brokers = {"streams": await exits.enter_async_context(shop.stack.broker())}
        for name, url in plan.brokers.items():
            try:
                brokers[name] = await exits.enter_async_context(new_topic(url, plan.clock))
            except (BackendUnavailable, InvalidSettings) as error:
                section.notes.append(f"{name}: left out ({error})")
        sides: dict[str, Side] = {name: _side(plan, broker, messages) for name, broker in brokers.items()}
        section.rows = await alternate(plan, sides)
    section.figures = [
        Figure(name=f"{row.name}: messages of {EVENTS} events", value=row.accepted_per_s / EVENTS, unit="/s")
        for row in section.rows
    ]
    section.charts = [
        Chart(
            title="Events a second through a broker",
            labels=[row.name for row in section.rows],
            series={"events/s": [row.accepted_per_s for row in section.rows]},
        )
    ]
    section.notes.append("a row counts events")
    return section


def _side(plan: Plan, broker: Broker, messages: int) -> Side:
    bodies = [(PartitionRef(1, number % PARTITIONS), _body(number)) for number in range(messages)]

    async def side() -> Measured:
        start_ms = plan.clock.monotonic_ms()
        async with asyncio.TaskGroup() as group:
            group.create_task(_read(broker, messages))
            queue = list(bodies)
            for _ in range(_IN_FLIGHT):
                group.create_task(_publish(broker, queue))
        return Measured(seconds=(plan.clock.monotonic_ms() - start_ms) / 1000, accepted=messages * EVENTS)

    return side


async def _publish(broker: Broker, queue: list[tuple[PartitionRef, bytes]]) -> None:
    while queue:
        await broker.publish(*queue.pop())


async def _read(broker: Broker, messages: int) -> None:
    async with aclosing(broker.consume()) as deliveries:
        left = messages
        async for delivery in deliveries:
            await delivery.ack()
            left -= 1
            if not left:
                return


def _body(number: int) -> bytes:
    first = number * EVENTS + 1
    events = [
        Event(seq=seq, kind=EventKind.DEDUCTED, quantity=1, at=1_700_000_000_000, order_id=f"o{seq:011d}", buyer_id="b")
        for seq in range(first, first + EVENTS)
    ]
    return encode_message("0" * 10, "hot", PartitionRef(1, number % PARTITIONS), 1, events)

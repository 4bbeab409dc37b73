"""A sale over every broker with the real relay, applier and ledger: each event once and in order, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.brokers import BrokerServer, NatsServer, RabbitMqServer, TansuServer, missing, running_broker
from tests.support.ledger import sales
from tests.support.servers import TestServer
from tests.support.topics import RemotePlace, published
from tests.support.workers import Stack, open_stack, until

from hotsku.domain.events import PartitionRef, encode_message
from hotsku.domain.item import Item
from hotsku.ports import Broker
from hotsku.workers.applier import Applier
from hotsku.workers.relay import Relay

pytestmark = pytest.mark.anyio

_SERVERS: dict[str, type[BrokerServer]] = {"rabbitmq": RabbitMqServer, "nats": NatsServer, "kafka": TansuServer}
_PATIENCE_S = 90.0
_PARTITIONS = 4


@pytest.fixture(scope="module", params=_SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    kind = _SERVERS[request.param]
    if missing(kind):
        pytest.skip(missing(kind))
    with running_broker(kind) as running:
        yield running


class Sale:
    """A stack whose messages go over a broker, and an item on sale."""

    def __init__(self, stack: Stack, place: RemotePlace, item: Item, exits: AsyncExitStack) -> None:
        self.stack = stack
        self.place = place
        self.item = item
        self._exits = exits
        self._sold = 0

    async def broker(self) -> Broker:
        return await self._exits.enter_async_context(self.place.open())

    async def relay(self) -> Relay:
        s = self.stack
        broker = await self.broker()
        return Relay(s.shard, s.ledger, broker, s.signals, s.clock, interval_ms=20, upkeep_ms=50, resend_after_ms=500)

    async def applier(self) -> Applier:
        return Applier(await self.broker(), self.stack.ledger, self.stack.signals)

    async def sell(self, orders: int) -> None:
        for partition in range(_PARTITIONS):
            await self.stack.sell(self.item, orders, partition, batch=20)
        self._sold += orders * _PARTITIONS

    async def until_applied(self) -> None:
        await until(self._is_applied, _PATIENCE_S)
        figures = await self.stack.ledger.figures(self.item.id)
        assert sum(each.deductions.count for each in figures.partitions) == self._sold
        assert sum(each.steps.count for each in figures.partitions) == 0  # no order was booked twice
        assert (figures.doubled, figures.strays, figures.parked) == (0, 0, 0)

    async def _is_applied(self) -> bool:
        return (await self.stack.ledger.standing(self.item.id)).sold == self._sold


@pytest.fixture
async def sale(server: BrokerServer, module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Sale]:
    async with AsyncExitStack() as exits, open_stack(module_valkey, tmp_path) as stack:
        item = await stack.item(partitions=_PARTITIONS)
        yield Sale(stack, RemotePlace(server, stack.ledger.ledger_id), item, exits)


async def test_every_event_once_while_the_broker_dies_and_forgets(sale: Sale) -> None:
    sale.stack.run(await sale.relay(), await sale.applier())
    await sale.sell(100)
    await sale.until_applied()
    await asyncio.to_thread(sale.place.down)
    await sale.sell(100)
    await asyncio.to_thread(sale.place.up)
    await sale.sell(100)
    await sale.until_applied()
    await sale.place.forget()
    await sale.sell(100)
    await sale.until_applied()


async def test_every_event_once_with_two_relays_and_appliers_of_which_one_ends(sale: Sale) -> None:
    sale.stack.run(await sale.relay(), await sale.applier())
    other = sale.stack.run(await sale.relay(), await sale.applier())
    await sale.sell(200)
    await other.stop()
    await sale.sell(200)
    await sale.until_applied()


async def test_what_is_corrupt_is_sent_again_and_what_is_foreign_is_parked_once(sale: Sale) -> None:
    stack, ref = sale.stack, PartitionRef(sale.item.id, 0)
    applier = await sale.applier()
    stack.run(applier)
    broker = await sale.broker()
    foreign = encode_message("another", sale.item.sku, ref, 1, sales(1, 5))
    for body in (b"\x00noise", foreign, foreign):
        await until(lambda b=body: published(broker, ref, b), _PATIENCE_S)  # type: ignore[misc]
    await until(lambda: applier.counts == {"corrupt": 1, "parked": 2}, _PATIENCE_S)
    await sale.sell(20)
    stack.run(await sale.relay())
    await until(lambda: _is_sold(stack, sale.item, 20 * _PARTITIONS), _PATIENCE_S)
    # What `hotsku audit` shows: one parked message, though it came twice.
    assert (await stack.ledger.figures()).parked == 1


async def _is_sold(stack: Stack, item: Item, units: int) -> bool:
    return (await stack.ledger.standing(item.id)).sold == units

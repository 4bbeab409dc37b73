"""examples/order_service hears every order once, from NATS, whatever happens to it and to its stream."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from tests.support.brokers import BrokerServer, NatsServer, missing, running_broker
from tests.support.example import running_example
from tests.support.folder_processes import embedded_folder
from tests.support.workers import until

import hotsku
from hotsku import Inventory, Order

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("patient"),
    pytest.mark.skipif(bool(missing(NatsServer)), reason=missing(NatsServer)),
]

_COMMAND = ["examples/order_service/service.py"]
_ORDERS = "SELECT order_id, buyer_id, quantity, state, refunded, payment_ref FROM orders"
_DETAILS = "SELECT order_id, buyer_id, quantity, state, refunded, payment_ref FROM deductions"


@pytest.fixture
def server() -> Iterator[BrokerServer]:
    with running_broker(NatsServer) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    with embedded_folder() as made:
        yield made.path


class Sale:
    """A stack whose events go over NATS, and the order service's table."""

    def __init__(self, stock: Inventory, jetstream: JetStreamContext, folder: Path, url: str) -> None:
        self.stock = stock
        self.jetstream = jetstream
        self.ledger = folder / "ledger.db"
        self.table = folder.with_name("orders.db")
        self.environment = {
            "HOTSKU_BROKER_URL": url,
            "HOTSKU_LEDGER_URL": f"sqlite:///{self.ledger}",
            "ORDERS": str(self.table),
        }
        self._orders = 0

    async def sell(self, count: int) -> None:
        first, self._orders = self._orders, self._orders + count
        orders = [Order(f"o-{n}", 1 + n % 3, f"u-{n % 5}") for n in range(first, self._orders)]
        await self.stock.deduct_many("sneaker-42", orders)

    async def until_the_service_has_all(self) -> None:
        """Its table says the same as the ledger, which has every order."""
        await until(lambda: len(_rows(self.ledger, _DETAILS)) == self._orders)
        await until(lambda: _rows(self.table, _ORDERS) == _rows(self.ledger, _DETAILS))

    async def lead_lives(self, count: int) -> None:
        """Orders that are held, and what becomes of each, by turns."""
        steps = (self._confirm, self._refund_a_part, self._refund_all, self._release, self._let_expire, self._pay)
        first, self._orders = self._orders, self._orders + count
        await asyncio.gather(*(steps[n % len(steps)](f"o-{n}") for n in range(first, self._orders)))

    async def _confirm(self, order_id: str) -> None:
        await self.stock.reserve("sneaker-42", 3, order_id=order_id)
        await self.stock.confirm("sneaker-42", order_id=order_id, payment_ref=f"pay-{order_id}")

    async def _refund_a_part(self, order_id: str) -> None:
        await self._confirm(order_id)
        for units in (1, 2):
            await self.stock.refund("sneaker-42", order_id=order_id, quantity=units)

    async def _refund_all(self, order_id: str) -> None:
        await self._refund_a_part(order_id)
        await self.stock.refund("sneaker-42", order_id=order_id)

    async def _release(self, order_id: str) -> None:
        await self.stock.reserve("sneaker-42", 2, order_id=order_id)
        await self.stock.release("sneaker-42", order_id=order_id)

    async def _let_expire(self, order_id: str) -> None:
        await self.stock.reserve("sneaker-42", 2, order_id=order_id, ttl=timedelta(milliseconds=1))

    async def _pay(self, order_id: str) -> None:
        await self.stock.reserve("sneaker-42", 2, order_id=order_id)
        await self.stock.extend("sneaker-42", order_id=order_id, ttl=timedelta(hours=1))
        await self.stock.begin_payment("sneaker-42", order_id=order_id)

    async def stream(self) -> str:
        return next(str(stream.config.name) for stream in await self.jetstream.streams_info())


@asynccontextmanager
async def _sale(server: BrokerServer, folder: Path) -> AsyncIterator[Sale]:
    shard_url, ledger_url = f"embedded:{folder}", f"sqlite:///{folder}/ledger.db"
    connection = await nats.connect(server.url)
    try:
        async with hotsku.connect(
            workers=True, shard_url=shard_url, ledger_url=ledger_url, broker_url=server.url, relay_interval_ms=20
        ) as stock:
            await stock.create_item("sneaker-42", 10_000, partitions=4)
            yield Sale(stock, connection.jetstream(), folder, server.url)
    finally:
        await connection.close()


@pytest.fixture
async def sale(server: BrokerServer, folder: Path) -> AsyncIterator[Sale]:
    async with _sale(server, folder) as made:
        yield made


def _rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    """What a statement finds; nothing where the service has not made its table yet."""
    with closing(sqlite3.connect(path)) as database:
        try:
            return sorted(database.execute(statement).fetchall())
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


async def test_every_order_once_while_it_is_killed_and_hears_all_again(sale: Sale) -> None:
    with running_example(_COMMAND, sale.environment) as service:
        await sale.sell(300)
        await asyncio.to_thread(service.wait_for, "events")
        await sale.sell(300)
        service.kill()
    await sale.sell(300)
    with running_example(_COMMAND, sale.environment):
        await sale.until_the_service_has_all()
    await sale.jetstream.delete_consumer(await sale.stream(), "order-service")
    await sale.sell(50)
    with running_example(_COMMAND, sale.environment), running_example(_COMMAND, sale.environment):
        await sale.until_the_service_has_all()
        assert sum(int(str(row[2])) for row in _rows(sale.table, _ORDERS)) == (await sale.stock.item("sneaker-42")).sold


async def test_the_whole_life_of_orders(sale: Sale) -> None:
    """Twice over: the second time the service has to hear everything again, from the beginning."""
    with running_example(_COMMAND, sale.environment):
        await sale.lead_lives(60)
        states = "SELECT state, count(*) FROM deductions GROUP BY state"
        wanted = [("confirmed", 20), ("expired", 10), ("held", 10), ("refunded", 10), ("released", 10)]
        await until(lambda: _rows(sale.ledger, states) == wanted)
        await sale.until_the_service_has_all()
    await sale.jetstream.delete_consumer(await sale.stream(), "order-service")
    with running_example(_COMMAND, sale.environment):
        await sale.lead_lives(6)
        await sale.until_the_service_has_all()


async def test_what_the_broker_has_dropped_comes_from_the_ledger(sale: Sale) -> None:
    await sale.sell(300)
    await until(lambda: len(_rows(sale.ledger, _DETAILS)) == 300)
    await sale.jetstream.purge_stream(await sale.stream())
    await sale.sell(100)
    with running_example(_COMMAND, sale.environment) as service:
        await sale.until_the_service_has_all()
        assert "from the ledger" in service.said

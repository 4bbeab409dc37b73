"""examples/order_table: wherever the shop crashes, its table, HotSKU and the payment provider agree in the end."""

import importlib.util
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select
from tests.support.example import EXAMPLES
from tests.support.folder_processes import embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway

import hotsku.sync
from hotsku import OrderState
from hotsku.client import BlockingClient

# What a check-out does outside of its own process, with a point before each and one behind the last.
_STEPS = ("reserve", "insert", "begin_payment", "charge", "mark paid", "confirm", "mark done")
_AT_ONCE = timedelta(0)
_items = iter(range(1_000_000))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example: Any = _load(EXAMPLES / "order_table" / "shop.py")


class Crash(BaseException):
    """The process dies here."""


class Death:
    """Crashes at one of the points before and behind the steps, counted from 0."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._points = 0

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: object, **named: object) -> Any:
            self._pass()
            answer = step(*arguments, **named)
            self._pass()
            return answer

        return done

    def _pass(self) -> None:
        point, self._points = self._points, self._points + 1
        if point == self._at:
            raise Crash


class Mortal:
    """Something outside, used by a process that may die around each use of it."""

    def __init__(self, thing: object, death: Death) -> None:
        self._thing = thing
        self._death = death

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._death.around(getattr(self._thing, name))


class Bank:
    """The payment provider: one payment an order, none after `settle`."""

    def __init__(self) -> None:
        self.payments: dict[str, str] = {}
        self.refunds: set[str] = set()
        self._settled: set[str] = set()
        self._lock = threading.Lock()

    def charge(self, order_id: str) -> str:
        with self._lock:
            if order_id in self._settled and order_id not in self.payments:
                raise PermissionError("this order was settled without a payment")
            return self.payments.setdefault(order_id, f"pay-{order_id}")

    def settle(self, order_id: str) -> str | None:
        with self._lock:
            self._settled.add(order_id)
            return self.payments.get(order_id)

    def refund(self, payment_ref: str) -> None:
        with self._lock:
            self.refunds.add(payment_ref)

    @property
    def paid(self) -> set[str]:
        """The orders whose money it has."""
        return {order_id for order_id, ref in self.payments.items() if ref not in self.refunds}


class Street:
    """A shop's surroundings: a gateway, a database, a bank, an item on sale."""

    def __init__(self, stock: BlockingClient | hotsku.sync.BlockingInventory, database: Engine, **item: object) -> None:
        self.stock = stock
        self.database = database
        self.bank = Bank()
        self.sku = f"sku-{next(_items)}"
        stock.create_item(self.sku, 50, partitions=2, **item)  # type: ignore[arg-type]

    def shop(self, crash_at: int | None = None) -> Any:
        """A process of the shop."""
        if crash_at is None:
            return example.Shop(self.stock, self.database, self.bank)
        death = Death(crash_at)
        shop = example.Shop(Mortal(self.stock, death), self.database, Mortal(self.bank, death))
        shop._insert = death.around(shop._insert)
        shop._mark = death.around(shop._mark)
        return shop

    def order(self) -> tuple[str, str, str]:
        return self.sku, f"{self.sku}-o{next(_items)}", "u-1"

    def rows(self) -> dict[str, str]:
        with self.database.begin() as transaction:
            rows = transaction.execute(select(example.orders).where(example.orders.c.sku == self.sku))
            return {row.order_id: row.state for row in rows}

    def recover(self) -> None:
        """Sweep until the ledger has everything, and nothing is left to do."""

        def done() -> bool:
            self.shop().recover(self.sku, _AT_ONCE)
            return self.stock.audit(self.sku).at_rest and self.stock.item(self.sku).held == 0

        eventually(done, "nothing is held any more")

    def check_agreement(self) -> None:
        """What is done here is confirmed there and paid for, and nothing else is."""
        done = {order_id for order_id, state in self.rows().items() if state == "done"}
        assert not {"new", "paid"} & set(self.rows().values())
        assert self.bank.paid == done
        confirmed = self.stock.orders(self.sku, state=OrderState.CONFIRMED, limit=1000)
        assert {order.order_id for order in confirmed} == done
        assert {order.payment_ref for order in confirmed} == {self.bank.payments[order_id] for order_id in done}
        item = self.stock.item(self.sku)
        assert (item.sold, item.held, item.available) == (len(done), 0, item.total - len(done))
        assert self.stock.audit(self.sku).ok


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    settings = {"HOTSKU_RELAY_INTERVAL_MS": "20"}
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent, environment=settings) as running:
        yield running


@pytest.fixture
def stock(gateway: Gateway) -> Iterator[BlockingClient]:
    with BlockingClient(gateway.url) as client:
        yield client


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    example.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_a_sale_without_a_crash(stock: BlockingClient, database: Engine) -> None:
    street = Street(stock, database)
    order = street.order()
    assert street.shop().check_out(*order) == "done"
    assert street.shop().check_out(*order) == "done", "twice is once"
    last = street.order()
    assert street.shop(crash_at=2 * len(_STEPS)).check_out(*last) == "done", "there are no more points to crash at"
    street.recover()
    street.check_agreement()
    assert street.rows() == {order[1]: "done", last[1]: "done"}


@pytest.mark.parametrize("at", range(2 * len(_STEPS)), ids=lambda at: f"{_STEPS[at // 2]}-{at % 2}")
def test_a_crash_anywhere(stock: BlockingClient, database: Engine, at: int) -> None:
    street = Street(stock, database)
    swept, again = street.order(), street.order()
    for order in (swept, again):
        with pytest.raises(Crash):
            street.shop(crash_at=at).check_out(*order)
    assert street.shop().check_out(*again) == "done", "the buyer comes back"
    street.recover()
    street.check_agreement()
    paid = at // 2 > _STEPS.index("charge") or (_STEPS[at // 2], at % 2) == ("charge", 1)
    inserted = at // 2 > _STEPS.index("insert") or (_STEPS[at // 2], at % 2) == ("insert", 1)
    assert street.rows().get(swept[1]) == ("done" if paid else "cancelled" if inserted else None)


@pytest.mark.usefixtures("patient")
def test_the_same_with_the_engine_in_the_shops_process(database: Engine) -> None:
    with embedded_folder(".hotsku") as folder:
        urls = {"shard_url": f"embedded:{folder.path}", "ledger_url": f"sqlite:///{folder.path}/ledger.db"}
        with hotsku.sync.connect(**urls) as stock:  # type: ignore[arg-type]  # checked by the settings
            street = Street(stock, database)
            assert street.shop().check_out(*street.order()) == "done"
            for step in _STEPS:
                with pytest.raises(Crash):
                    street.shop(crash_at=2 * _STEPS.index(step)).check_out(*street.order())
            street.recover()
            street.check_agreement()
            assert sorted(street.rows().values()) == ["cancelled"] * 2 + ["done"] * 4


def test_a_hold_that_expires_before_its_payment_is_known(stock: BlockingClient, database: Engine) -> None:
    street = Street(stock, database, hold_ttl=timedelta(seconds=1))
    order = street.order()
    with pytest.raises(Crash):
        street.shop(crash_at=2 * _STEPS.index("mark paid")).check_out(*order)
    eventually(lambda: stock.order(order[0], order[1], order[2]).state is OrderState.EXPIRED, "the hold expires")
    street.recover()
    street.check_agreement()
    assert street.rows() == {order[1]: "refunded"}
    assert street.bank.refunds == {street.bank.payments[order[1]]}


def test_sweeps_beside_buyers(stock: BlockingClient, database: Engine) -> None:
    """Sweeps that spare no order, however young, and buyers in the middle of their check-outs."""
    street = Street(stock, database)

    def buy() -> str:
        try:
            return str(street.shop().check_out(*street.order()))
        except PermissionError:
            return "settled by a sweep"

    with ThreadPoolExecutor(8) as pool:
        bought = [pool.submit(buy) for _ in range(60)]
        swept = [pool.submit(street.shop().recover, street.sku, _AT_ONCE) for _ in range(10)]
        for future in (*bought, *swept):
            future.result()
    street.recover()
    street.check_agreement()
    assert len(street.rows()) >= 50

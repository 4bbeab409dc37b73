"""Sales over HTTP against two server processes: exact, whatever clients and servers do."""

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest
from tests.support.buyers import Cut, Line, buy
from tests.support.folder_processes import Folder, embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway

pytestmark = pytest.mark.anyio

_STOCK = 200
_BUYERS = 2_000
_LINES = 40


@pytest.fixture
def folder() -> Iterator[Folder]:
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture
def gateway(folder: Folder) -> Iterator[Gateway]:
    with running_gateway(folder.path.parent, "--workers", "2") as running:
        yield running


def orders_in_ledger(folder: Folder) -> Counter[str]:
    """The orders that the ledger has, when everybody has gone."""
    eventually(folder.ended, "the worker has brought everything to the ledger", 30)
    with closing(sqlite3.connect(folder.path / "ledger.db")) as ledger:
        return Counter(order_id for (order_id,) in ledger.execute("SELECT order_id FROM deductions"))


async def test_two_thousand_buyers_and_two_hundred_units(gateway: Gateway, folder: Folder) -> None:
    """Buyers send orders again for no reason, on other connections, at the same time, or hang up and come back."""
    with gateway.client() as http:
        assert http.post("/v1/items", json={"sku": "hot", "total": _STOCK, "partitions": 4}).status_code == 201
    random = Random(7)
    buyers = [f"u-{number}" for number in range(_BUYERS)]
    visits = [*buyers, *random.sample(buyers, 400)]
    random.shuffle(visits)
    waiting = iter(visits)
    heard: dict[str, list[tuple[int, dict[str, object]]]] = {buyer: [] for buyer in buyers}

    async def customers(number: int) -> None:
        own = Random(number)
        async with Line(gateway.port) as line:
            for buyer in waiting:
                if own.random() < 0.1:
                    await line.send_and_vanish("hot", f"o-{buyer}", buyer, own)
                heard[buyer].append(await buy(line, "hot", f"o-{buyer}", buyer))

    async with asyncio.TaskGroup() as group:
        for number in range(_LINES):
            group.create_task(customers(number))
    accepted = {buyer for buyer, answers in heard.items() if answers[0][0] in (200, 201)}
    for buyer, answers in heard.items():
        if buyer in accepted:
            assert {status for status, _ in answers} <= {200, 201}
            assert sum(status == 201 for status, _ in answers) <= 1
        else:
            assert {(status, answer["outcome"]) for status, answer in answers} == {(409, "sold_out")}
    with gateway.client() as http:
        audit = http.get("/v1/audit").json()
    assert (audit["ok"], audit["problems"]) == (True, [])
    assert gateway.stop().status == 0
    assert orders_in_ledger(folder) == Counter(f"o-{buyer}" for buyer in accepted)
    assert len(accepted) == _STOCK


async def test_a_stop_under_load_loses_no_answer(gateway: Gateway, folder: Folder) -> None:
    """Each order that was sold was answered: no more is taken than what can be answered."""
    with gateway.client() as http:
        assert http.post("/v1/items", json={"sku": "hot", "total": 1_000_000}).status_code == 201
    numbers = itertools.count()
    answered: set[str] = set()
    halves: list[bytes] = []
    enough = asyncio.Event()

    async def customers() -> None:
        async with Line(gateway.port) as line:
            while True:
                order_id = f"o-{next(numbers)}"
                try:
                    status, _ = await line.post("hot", order_id)
                except Cut as cut:
                    halves.append(cut.received)
                except OSError:
                    return  # nobody takes connections any more
                else:
                    assert status == 201
                    answered.add(order_id)
                    if len(answered) > 2_000:
                        enough.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(_LINES):
            group.create_task(customers())
        await enough.wait()
        gateway.process.terminate()
    assert await asyncio.to_thread(gateway.process.wait, 30) == 0
    assert set(halves) <= {b""}
    assert orders_in_ledger(folder) == Counter(answered)

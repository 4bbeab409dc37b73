"""Sales over HTTP against two server processes: exact, whatever clients and servers do."""

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from random import Random

import httpx
import pytest
from tests.support.buyers import Cut, Line, decided
from tests.support.folder_processes import Folder, embedded_folder, eventually
from tests.support.gateway import Gateway, running_gateway
from tests.support.shoppers import Shopper, Story

pytestmark = pytest.mark.anyio

_STOCK = 1_000
_BUYERS = 10_000
_LINES = 48
_SOLD = ("confirmed", "refunded")


@pytest.fixture
def folder() -> Iterator[Folder]:
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture
def gateway(folder: Folder) -> Iterator[Gateway]:
    with running_gateway(folder.path.parent, "--workers", "2") as running:
        yield running


def orders_in_ledger(folder: Folder) -> dict[str, tuple[str, int, int]]:
    """State, quantity and refunded units of the orders that the ledger has, when everybody has gone."""
    eventually(folder.ended, "the worker has brought everything to the ledger")
    with closing(sqlite3.connect(folder.path / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT order_id, state, quantity, refunded FROM deductions").fetchall()
    assert Counter(row[0] for row in rows).most_common(1)[0][1] == 1
    return {order_id: tuple(rest) for order_id, *rest in rows}


async def shop(gateway: Gateway, shoppers: list[Shopper]) -> None:
    """Let them all shop, so many at a time."""
    waiting = iter(shoppers)

    async def customers() -> None:
        async with Line(gateway.port) as line:
            for shopper in waiting:
                await shopper.shop(line)

    async with asyncio.TaskGroup() as group:
        for _ in range(_LINES):
            group.create_task(customers())


def nothing_is_left(http: httpx.Client) -> bool:
    item = http.get("/v1/items/hot").json()
    return (item["available"], item["held"]) == (0, 0)


async def buy_the_rest(gateway: Gateway, http: httpx.Client, story: Story) -> None:
    """Buy until nothing is left, here or on its way back."""
    numbers = itertools.count()
    async with Line(gateway.port) as line, asyncio.timeout(90):
        while True:
            order_id, status = f"rest-{next(numbers)}", 0
            while status != 201:
                status, answer = await decided(line, "/v1/items/hot/deductions", {"order_id": order_id})
                story.heard(order_id, "deduct", status, answer)
                if status == 409 and await asyncio.to_thread(nothing_is_left, http):
                    return


async def test_ten_thousand_buyers_and_one_thousand_units(gateway: Gateway, folder: Folder) -> None:
    """They buy or hold, pay or do not, too late or twice, take steps again, hang up and come back; then whoever still
    wants one gets what is left. What each was told is what the ledger has."""
    with gateway.client() as http:
        assert http.post("/v1/items", json={"sku": "hot", "total": _STOCK, "partitions": 4}).status_code == 201
    random = Random(7)
    story = Story()
    await shop(gateway, [Shopper(story, "hot", number, Random(random.random())) for number in range(_BUYERS)])
    await asyncio.sleep(story.longest_hold_s)  # what nobody paid for is for others
    await shop(gateway, story.who_come_late())
    with gateway.client() as http:
        await buy_the_rest(gateway, http, story)
        audit = http.get("/v1/audit").json()
        assert (audit["ok"], audit["problems"]) == (True, [])
        for order_id, known in random.sample(sorted(story.orders.items()), 500):
            shown = http.get(f"/v1/items/hot/orders/{order_id}", params={"buyer_id": known.buyer_id})
            assert shown.json().get("state") == known.final_state, shown.text
    assert gateway.stop().status == 0
    ledger = orders_in_ledger(folder)
    assert ledger == story.as_told()
    assert sum(quantity - refunded for state, quantity, refunded in ledger.values() if state in _SOLD) == _STOCK
    assert story.kinds() >= {"confirmed", "released", "expired", "refunded"}  # it was no easy sale
    assert story.refunds_due  # and some paid in vain


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
                    status, _ = await line.post("/v1/items/hot/deductions", {"order_id": order_id})
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
    assert await asyncio.to_thread(gateway.process.wait, 90) == 0
    assert set(halves) <= {b""}
    assert orders_in_ledger(folder).keys() == answered

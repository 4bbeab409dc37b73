"""Both clients against a real gateway: what the engine answers and raises comes through, whatever the network does."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.folder_processes import Folder, embedded_folder
from tests.support.gateway import Gateway, running_gateway
from tests.support.http_proxy import Fault, HttpProxy, running_http_proxy
from tests.support.listening import HandClock
from tests.support.twins import TWINS, Twin, twin

from hotsku import (
    BackendUnavailable,
    Deduction,
    IdempotencyConflict,
    InvalidRequest,
    Order,
    OrderState,
    Outcome,
    OutcomeUnknown,
    UnknownItem,
)

pytestmark = pytest.mark.anyio

_items = iter(range(1_000_000))


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture(scope="module")
def gateway(folder: Folder) -> Iterator[Gateway]:
    with running_gateway(folder.path.parent) as running:
        yield running
        assert running.stop().status == 0


@pytest.fixture
async def proxy(gateway: Gateway) -> AsyncIterator[HttpProxy]:
    async with running_http_proxy(gateway.port) as running:
        yield running


@pytest.fixture(params=TWINS)
async def stock(request: pytest.FixtureRequest, proxy: HttpProxy) -> AsyncIterator[Twin]:
    """Each client in turn, with an attempt that outlasts a machine that stands still; a lost one is over after 1 s."""
    async with twin(request.param, proxy.url, budget_s=150, attempt_s=60, settle_s=1) as client:
        yield client


@pytest.fixture
async def sku(stock: Twin) -> str:
    """An item of 10 units of the test's own."""
    name = f"sku-{next(_items)}"
    await stock("create_item", name, 10, partitions=1, limit_per_buyer=4)
    return name


async def sold(stock: Twin, sku: str) -> int:
    """Units sold, as the ledger has it when it has everything."""
    while True:
        report = await stock("audit", sku)
        assert report.ok
        if report.at_rest:
            return int((await stock("item", sku)).sold)


# --- what is answered ---


async def test_an_order_and_the_same_again(stock: Twin, sku: str) -> None:
    first = await stock("deduct", sku, 2, order_id="o-1", buyer_id="u-1")
    assert isinstance(first, Deduction)
    assert (first.outcome, first.state, first.replayed) == (Outcome.ACCEPTED, OrderState.CONFIRMED, False)
    assert (first.sku, first.order_id, first.buyer_id, first.quantity) == (sku, "o-1", "u-1", 2)
    again = await stock("deduct", sku, 2, order_id="o-1", buyer_id="u-1")
    assert (again.outcome, again.replayed) == (Outcome.ACCEPTED, True)
    shown = await stock("order", sku, "o-1", "u-1")
    assert (shown.outcome, shown.quantity) == (Outcome.ACCEPTED, 2)
    with pytest.raises(IdempotencyConflict):
        await stock("deduct", sku, 3, order_id="o-1", buyer_id="u-1")
    assert await sold(stock, sku) == 2


async def test_noes_are_values(stock: Twin, sku: str) -> None:
    over = await stock("deduct", sku, 5, order_id="o-1", buyer_id="u-1")
    assert (over.outcome, over.state, over.order_id, over.quantity) == (Outcome.LIMIT_EXCEEDED, None, "o-1", 5)
    for buyer in ("u-1", "u-2"):
        await stock("deduct", sku, 4, buyer_id=buyer)
    short = await stock("deduct", sku, 3, buyer_id="u-3")
    assert (short.outcome, short.available) == (Outcome.INSUFFICIENT, 2)
    await stock("deduct", sku, 2, buyer_id="u-3")
    assert (await stock("deduct", sku, 1, buyer_id="u-4")).outcome is Outcome.SOLD_OUT
    assert (await stock("order", sku, "nobody")).outcome is Outcome.NOT_FOUND
    assert (await stock("order", sku, "nobody", "u-1")).outcome is Outcome.NOT_FOUND


async def test_faults_are_those_of_the_engine(stock: Twin, sku: str, proxy: HttpProxy) -> None:
    asked = len(proxy.requests)
    for wrong in (
        {"quantity": 0},
        {"quantity": True},
        {"order_id": "a b"},
        {"buyer_id": None},
        {"metadata": "x" * 257},
    ):
        with pytest.raises(InvalidRequest) as refused:
            await stock("deduct", sku, **wrong)
        assert refused.value.field == next(iter(wrong))
    with pytest.raises(InvalidRequest, match="sku"):
        await stock("deduct", "../items", 1)
    for field, value, words in (
        ("hold_ttl", timedelta(0), "a timedelta of at least 1 ms"),
        ("opens_at", datetime(2999, 1, 1), "a timezone-aware datetime"),  # noqa: DTZ001  # that is what is wrong
        ("closes_at", datetime(9999, 12, 31, tzinfo=UTC), "a timezone-aware datetime"),
    ):
        with pytest.raises(InvalidRequest, match=f"{field} must be {words}"):
            await stock("create_item", sku, 10, **{field: value})
    assert len(proxy.requests) == asked, "what is wrong by itself is not sent"
    with pytest.raises(UnknownItem, match="no-such-item"):
        await stock("deduct", "no-such-item", 1)
    with pytest.raises(UnknownItem):
        await stock("item", "no-such-item")
    with pytest.raises(UnknownItem):
        await stock("order", "no-such-item", "o-1")
    with pytest.raises(InvalidRequest) as told:
        await stock("deduct", sku, 1)
    assert (told.value.field, "limit per buyer" in told.value.allowed) == ("buyer_id", True)
    with pytest.raises(IdempotencyConflict):
        await stock("create_item", sku, 11)


async def test_items(stock: Twin, sku: str) -> None:
    assert (await stock("item", sku)).total == 10
    assert [item.sku for item in await stock("items", None, 1000)].count(sku) == 1
    assert [row.partition for row in await stock("partitions", sku)] == [0]
    assert (await stock("create_item", sku, 10, partitions=1, limit_per_buyer=4)).limit_per_buyer == 4


async def test_many_orders(stock: Twin) -> None:
    await stock("create_item", "many", 2_000)
    orders = [Order(f"o-{n}", buyer_id=f"u-{n % 7}") for n in range(2_300)]
    answers = await stock("deduct_many", "many", [*orders, {"order_id": "o-1", "buyer_id": "u-1", "quantity": 2}])
    outcomes = [answer.outcome for answer in answers[:-1]]
    assert (outcomes.count(Outcome.ACCEPTED), outcomes.count(Outcome.SOLD_OUT)) == (2_000, 300)
    assert [(answer.order_id, answer.buyer_id) for answer in answers[:-1]] == [(o.order_id, o.buyer_id) for o in orders]
    assert isinstance(answers[-1], IdempotencyConflict)
    assert await sold(stock, "many") == 2_000
    assert await stock("deduct_many", "many", []) == []
    with pytest.raises(UnknownItem):
        await stock("deduct_many", "no-such-item", orders)


# --- what the network does ---


@pytest.mark.parametrize("fault", ["lose request", "lose reply", "cut reply", "bad gateway", "other page"])
async def test_an_order_is_sent_again_until_it_is_answered(
    stock: Twin, sku: str, proxy: HttpProxy, fault: Fault
) -> None:
    proxy.faults.extend([fault, fault])
    asked = len(proxy.requests)
    deduction = await stock("deduct", sku, 2, buyer_id="u-1")
    assert (deduction.outcome, deduction.quantity) == (Outcome.ACCEPTED, 2)
    assert deduction.replayed == (fault in ("lose reply", "cut reply", "bad gateway"))
    bodies = {request.partition(b"\r\n\r\n")[2] for request in proxy.requests[asked:]}
    assert (len(proxy.requests) - asked, len(bodies)) == (3, 1), "the same order each time"
    assert await sold(stock, sku) == 2


async def test_many_orders_are_sent_again(stock: Twin, proxy: HttpProxy) -> None:
    name = f"sku-{next(_items)}"
    await stock("create_item", name, 100)
    proxy.faults.append("lose reply")
    answers = await stock("deduct_many", name, [Order(f"o-{n}", 2) for n in range(60)])
    outcomes = [(answer.outcome, answer.replayed) for answer in answers]
    assert outcomes.count((Outcome.ACCEPTED, True)) == 50
    assert outcomes.count((Outcome.SOLD_OUT, False)) == 10
    assert await sold(stock, name) == 100


@pytest.mark.parametrize("kind", TWINS)
async def test_a_no_after_a_lost_attempt_waits_until_that_cannot_sell(
    proxy: HttpProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    monkeypatch.setattr("hotsku.client.transport.SystemClock", lambda: clock)
    async with twin(kind, proxy.url, attempt_s=60, settle_s=1) as stock:
        name = f"sku-{next(_items)}"
        await stock("create_item", name, 5, opens_at=datetime(2999, 1, 1, tzinfo=UTC))
        proxy.faults.append("lose request")
        asked = len(proxy.requests)
        asking = asyncio.ensure_future(stock("deduct", name, 1))
        await proxy.wait_for(asked + 4)
        assert not asking.done(), "it asks until the lost attempt is over"
        clock.at_ms += 1_000
        assert (await asking).outcome is Outcome.NOT_OPEN
        asked = len(proxy.requests)
        assert (await stock("deduct", name, 1)).outcome is Outcome.NOT_OPEN
        assert len(proxy.requests) == asked + 1, "without a lost attempt a no is final"


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize("method", ["deduct", "deduct_many"])
async def test_a_lost_attempt_that_sells_after_a_no(proxy: HttpProxy, kind: str, method: str) -> None:
    """The buyer hears the yes, not the no that came before it."""
    async with twin(kind, proxy.url, budget_s=150, attempt_s=60, settle_s=150) as stock:
        name = f"sku-{next(_items)}"
        await stock("create_item", name, 3, partitions=1)
        await stock("pause", name)
        proxy.faults.append("late")
        asked = len(proxy.requests)
        arguments = (name, [Order("o-1", 2)]) if method == "deduct_many" else (name, 2)
        named = {} if method == "deduct_many" else {"order_id": "o-1"}
        asking = asyncio.ensure_future(stock(method, *arguments, **named))
        await proxy.wait_for(asked + 3)  # it has heard at least one no
        await stock("resume", name)
        (late,) = await proxy.release()
        assert late.startswith((b"HTTP/1.1 201", b"HTTP/1.1 200"))
        heard = await asking
        assert (heard[0] if method == "deduct_many" else heard).outcome is Outcome.ACCEPTED
        assert await sold(stock, name) == 2


@pytest.mark.parametrize("kind", TWINS)
async def test_when_the_time_is_over(proxy: HttpProxy, kind: str) -> None:
    async with (
        twin(kind, proxy.url, budget_s=150, attempt_s=60) as patient,
        twin(kind, proxy.url, budget_s=1, attempt_s=0.5) as stock,
    ):
        name = f"sku-{next(_items)}"
        await patient("create_item", name, 10, partitions=1)
        proxy.faults.extend(["stuck"] * 20)
        with pytest.raises(OutcomeUnknown, match=r"'o-1'.*send the same again"):
            await stock("deduct", name, 1, order_id="o-1")
        (unknown,) = await stock("deduct_many", name, [Order("o-2")])
        assert isinstance(unknown, OutcomeUnknown)
        with pytest.raises(BackendUnavailable):
            await stock("item", name)  # it changes nothing, so nothing is unknown
        proxy.faults.clear()
        assert (await patient("deduct", name, 1, order_id="o-1")).replayed
        proxy.faults.extend(["lose request"] * 50)
        with pytest.raises(OutcomeUnknown):
            await stock("deduct", name, 1, order_id="o-3")


@pytest.mark.parametrize("kind", TWINS)
async def test_a_gateway_that_is_away_has_sold_nothing(kind: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with twin(kind, f"http://127.0.0.1:{nobody.getsockname()[1]}", budget_s=0.5) as stock:
            with pytest.raises(BackendUnavailable, match="does not answer"):
                await stock("deduct", "sku", 1, order_id="o-1")
            (away,) = await stock("deduct_many", "sku", [Order("o-1")])
            assert isinstance(away, BackendUnavailable)


@pytest.mark.parametrize("kind", TWINS)
async def test_a_gateway_that_takes_no_connection_in_time_has_sold_nothing(kind: str) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # one may wait to be accepted, and the next one is not answered
        first.connect(full.getsockname())
        async with twin(kind, f"http://127.0.0.1:{full.getsockname()[1]}", budget_s=0.2) as stock:
            for _ in range(3):
                with pytest.raises(BackendUnavailable, match="does not answer"):
                    await stock("deduct", "sku", 1, order_id="o-1")

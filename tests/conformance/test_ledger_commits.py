"""A COMMIT of which nobody knows what became: each change is made once, and its caller hears the right answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import get_args

import pytest
from msgspec.structs import replace
from sqlalchemy import make_url
from tests.support.databases import SERVERS, Database
from tests.support.ledger import NOW, books_hold, cart_row, given_back, message, open_item, sale, sales, spec
from tests.support.tcp_proxy import Fault, TcpProxy, running_tcp_proxy

from hotsku.domain.cart import CartLine
from hotsku.domain.events import Event, EventKind, PartitionRef
from hotsku.domain.item import Standing
from hotsku.errors import BackendUnavailable
from hotsku.ledger import SqlLedger
from hotsku.ports import Adjusted, Applied, Archived, Grant, Lease, Unsure

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("kept_database", SERVERS, indirect=True),  # a file has no connection to lose
]

Cut = Callable[[], None]


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[tuple[TcpProxy, int]]:
    url = make_url(database.url)
    port = url.port or (5432 if database.kind == "postgresql" else 3306)
    async with running_tcp_proxy(url.host or "127.0.0.1", port) as made:
        yield made


@pytest.fixture
async def far(database: Database, proxy: tuple[TcpProxy, int]) -> AsyncIterator[SqlLedger]:
    """The ledger over the proxy. Both of its writing connections are open."""
    url = make_url(database.url).set(host="127.0.0.1", port=proxy[1])
    if database.kind != "postgresql":
        url = url.set(query={"ssl_disabled": "true"})  # the proxy must see what is sent
    through = Database(database.kind, url.render_as_string(hide_password=False))
    ledger = await asyncio.to_thread(through.open_only)
    await ledger.open_partition(PartitionRef(0, 0), 1)
    await ledger.apply(message(ledger, 0, sales(1, 1)))
    yield ledger
    await ledger.close()


async def _create(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    cut()
    made = await far.create_item(spec(total=100, partitions=3), "durable", NOW)
    assert made.new
    assert await ledger.item("sneaker") == made.item
    assert len(await ledger.partitions(made.item.id)) == 3


async def _open(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = (await ledger.create_item(spec(), "durable", NOW)).item
    cut()
    await far.open_partition(PartitionRef(item.id, 0), 1)
    assert (await ledger.partitions(item.id))[0].state == "open"


async def _mark_fast(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec())
    cut()
    await far.mark_fast(PartitionRef(item.id, 0), 1)
    assert (await ledger.partitions(item.id))[0].durability == "fast"


async def _fence(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec())
    cut()
    await far.fence_partition(PartitionRef(item.id, 0), 1, "lost its memory")
    assert (await ledger.partitions(item.id))[0].state == "fenced"


async def _lease(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100, partitions=2), 5)
    refs = [PartitionRef(item.id, number) for number in range(2)]
    cut()
    made = await far.lease([Grant(refs[0], 1, 1, 10), Grant(refs[1], 1, 0, 20), Grant(refs[1], 1, 1, 1)], NOW)
    assert made == [Lease(refs[0], 1, 2, 10), Lease(refs[1], 1, 1, 20), Lease(refs[1], 1, 2, 1)]
    assert await ledger.standing(item.id) == Standing(total=100, pool=64, preallocated=36, sold=0)


async def _apply(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    whole = message(ledger, item.id, [sale(1, "o", 3), sale(2, "o", 2), given_back(3, 4)])
    cut()
    assert await far.apply(whole) == Applied(status="applied", watermark=3, returned=6)
    assert await far.apply(whole) == Applied(status="skipped", watermark=3)
    assert await ledger.standing(item.id) == Standing(total=100, pool=56, preallocated=41, sold=3)


async def _apply_together(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=1_000, partitions=2), 300, 300)
    rows = [sale(seq, f"p-{seq}") for seq in range(1, 150)]
    together = [
        message(ledger, item.id, sales(1, 200)),
        message(ledger, item.id, [*rows, sale(150, "o-1", 4)], partition=1),
        message(ledger, item.id, [given_back(201, 7)]),
    ]
    cut()
    answers = await far.apply_all(together)
    assert [answer.status for answer in answers] == ["applied"] * 3
    assert [answer.returned for answer in answers] == [0, 4, 7]
    assert [answer.status for answer in await far.apply_all(together)] == ["skipped"] * 3
    assert await ledger.standing(item.id) == Standing(total=1_000, pool=411, preallocated=240, sold=349)


async def _apply_lives(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    lives = [
        Event(seq=1, kind=EventKind.HELD, quantity=3, at=NOW, order_id="a", expires_at=NOW),
        Event(seq=2, kind=EventKind.HELD, quantity=2, at=NOW, order_id="b", expires_at=NOW),
        Event(seq=3, kind=EventKind.RELEASED, quantity=3, at=NOW, order_id="a"),
        Event(seq=4, kind=EventKind.CONFIRMED, quantity=2, at=NOW, order_id="b"),
        Event(seq=5, kind=EventKind.REFUNDED, quantity=1, at=NOW, order_id="b"),
        Event(seq=6, kind=EventKind.HELD, quantity=7, at=NOW, order_id="a", expires_at=NOW),
        Event(seq=7, kind=EventKind.RELEASED, quantity=2, at=NOW, order_id="b"),
    ]
    await ledger.apply(message(ledger, item.id, lives[:2]))
    whole = message(ledger, item.id, lives)
    cut()
    assert await far.apply(whole) == Applied(status="applied", watermark=7, returned=4)
    assert await far.apply(whole) == Applied(status="skipped", watermark=7)
    standing = Standing(total=100, pool=54, preallocated=38, sold=1, held=7)
    assert await ledger.standing(item.id) == standing
    assert (await ledger.figures(item.id)).parked == 1


async def _bring_back(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 2)))
    await ledger.set_item_state(item.id, "closed")
    await ledger.archive_item(item.id, 9, NOW)
    refund = Event(seq=3, kind=EventKind.REFUNDED, quantity=1, at=NOW, order_id="o-2")
    cut()
    assert (await far.apply(message(ledger, item.id, [refund]))).returned == 1
    assert [row.state for row in await ledger.details(item.id, None, 9)] == ["confirmed", "refunded"]


async def _state(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec())
    cut()
    paused = await far.set_item_state(item.id, "paused")
    assert (paused.state, paused.version) == ("paused", 2)
    assert await ledger.item("sneaker") == paused


async def _adjust(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    cut()
    assert await far.adjust(item.id, "a", -20, NOW) == Adjusted(status="done", pool=30, actual=80)
    cut()
    assert await far.adjust(item.id, "b", 5, NOW) == Adjusted(status="done", pool=35, actual=85)
    assert (await ledger.standing(item.id)).total == 85


async def _carts(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    row = cart_row("c", "ann", CartLine("lace", 2))
    cut()
    assert await far.open_cart(row) == row
    cut()
    assert (await far.hold_cart("c", "ann", NOW + 1)).held
    cut()
    decided = await far.decide_cart("c", "ann", "confirmed", payment_ref="pay")
    assert (decided.state, decided.payment_ref) == ("confirmed", "pay")
    cut()
    await far.finish_cart("c", "ann", payment_ref="pay")
    assert await ledger.cart("c", "ann") == replace(decided, finished=True)


async def _park(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    before = (await ledger.figures()).parked
    cut()
    await far.park(b"\xff", "not a message", NOW)
    cut()
    assert (await far.apply(message(ledger, 9, sales(1, 2)))).status == "parked"
    assert (await ledger.figures()).parked == before + 2


async def _replace(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    await ledger.fence_partition(PartitionRef(item.id, 0), 1, "lost its memory")
    cut()
    assert await far.replace_incarnation(
        PartitionRef(item.id, 0), 1, 0, durability="fast", quarantine_until_ms=None, now_ms=NOW
    )
    assert [row.state for row in await ledger.partitions(item.id)] == ["closed", "rebuilding"]
    assert (await ledger.standing(item.id)).pool == 100


async def _end_quarantines(ledger: SqlLedger, far: SqlLedger, cut: Cut) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    ref = PartitionRef(item.id, 0)
    await ledger.fence_partition(ref, 1, "lost its memory")
    await ledger.replace_incarnation(ref, 1, 0, durability="fast", quarantine_until_ms=NOW, now_ms=NOW)
    cut()
    assert await far.end_quarantines(NOW) == [ref]
    assert (await ledger.standing(item.id)).pool == 100


SCENARIOS: list[Callable[[SqlLedger, SqlLedger, Cut], Awaitable[None]]] = [
    _create,
    _open,
    _mark_fast,
    _fence,
    _lease,
    _apply,
    _apply_together,
    _apply_lives,
    _bring_back,
    _state,
    _adjust,
    _carts,
    _park,
    _replace,
    _end_quarantines,
]


@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.strip("_"))
async def test_a_change_is_made_once_whatever_became_of_its_commit(
    ledger: SqlLedger,
    far: SqlLedger,
    proxy: tuple[TcpProxy, int],
    fault: Fault,
    scenario: Callable[[SqlLedger, SqlLedger, Cut], Awaitable[None]],
) -> None:
    def cut() -> None:
        proxy[0].fault = fault

    await scenario(ledger, far, cut)
    assert proxy[0].commits >= 1
    assert proxy[0].fault is None
    if scenario not in (_park, _apply_lives):  # these leave something parked
        for item in await ledger.items(None, 10):
            await books_hold(ledger, item.id)


@pytest.mark.parametrize(("fault", "total"), [("lose answer", 105), ("lose commit", 100)])
async def test_a_change_whose_commit_nobody_can_be_asked_about_is_told_as_such(
    ledger: SqlLedger, far: SqlLedger, proxy: tuple[TcpProxy, int], fault: Fault, total: int
) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    proxy[0].fault, proxy[0].then_away = fault, True
    with pytest.raises(Unsure):
        await far.adjust(item.id, "a", 5, NOW)
    with pytest.raises(BackendUnavailable) as caught:
        await far.adjust(item.id, "b", 5, NOW)
    assert not isinstance(caught.value, Unsure), "it never got so far"
    assert (await ledger.standing(item.id)).total == total


@pytest.mark.parametrize("fault", ["lose answer", "lose commit"])
async def test_archiving_loses_and_doubles_no_row(
    ledger: SqlLedger, far: SqlLedger, database: Database, proxy: tuple[TcpProxy, int], fault: Fault
) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 5)))
    database.execute("UPDATE items SET state = 'closed'")
    figures = await ledger.figures(item.id)
    while not (await far.archive_item(item.id, 2, NOW)).done:
        proxy[0].fault = fault
    assert await ledger.archive_item(item.id, 2, NOW) == Archived(moved=0, done=True)
    assert proxy[0].commits >= 1
    assert await ledger.figures(item.id) == figures


@pytest.mark.parametrize("mine", [True, False])
async def test_leases_of_unknown_outcome_are_found_only_if_they_are_the_same(
    ledger: SqlLedger, far: SqlLedger, proxy: tuple[TcpProxy, int], mine: bool
) -> None:
    """Another process made the lease with this number, while our COMMIT was lost."""
    item = await open_item(ledger, spec(total=100))
    ref = PartitionRef(item.id, 0)
    proxy[0].fault = "lose commit"
    proxy[0].meanwhile = lambda: ledger.lease([Grant(ref, 1, 0, 10 if mine else 11)], NOW)
    assert await far.lease([Grant(ref, 1, 0, 10)], NOW) == ([Lease(ref, 1, 1, 10)] if mine else None)
    assert (await ledger.standing(item.id)).pool == (90 if mine else 89)


async def test_an_item_that_another_made_while_a_commit_was_lost_is_not_new(
    ledger: SqlLedger, far: SqlLedger, proxy: tuple[TcpProxy, int]
) -> None:
    proxy[0].fault = "lose commit"
    proxy[0].meanwhile = lambda: ledger.create_item(spec(), "durable", NOW)
    assert not (await far.create_item(spec(), "durable", NOW)).new
    assert len(await ledger.items(None, 10)) == 1

"""An order's life in the ledger: births, steps, ends, and orders that begin anew; rows and figures follow together."""

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, figures_of, given_back, message, open_item, sale, spec

from hotsku.domain.events import Event, EventKind
from hotsku.domain.item import Item, Standing
from hotsku.ledger import SqlLedger
from hotsku.ports import Applied, DetailRow, EventRow

pytestmark = pytest.mark.anyio

SOON = NOW + 60_000


def step(seq: int, kind: str, order_id: str, quantity: int = 2, **more: str | int | bool) -> Event:
    """An event of an order of ann's."""
    event = {"seq": seq, "kind": EventKind(kind), "quantity": quantity, "at": NOW + seq, "order_id": order_id}
    return Event(**event, **{"buyer_id": "ann", **more})  # type: ignore[arg-type]


def hold(seq: int, order_id: str, quantity: int = 2, **more: str | int | bool) -> Event:
    return step(seq, "held", order_id, quantity, **{"expires_at": SOON, **more})


async def item_of(ledger: SqlLedger) -> Item:
    return await open_item(ledger, spec(total=100), 50)


async def play(ledger: SqlLedger, item: Item, *events: Event) -> Applied:
    """Apply the events as one message."""
    return await ledger.apply(message(ledger, item.id, events))


async def row_of(ledger: SqlLedger, item: Item, order_id: str) -> DetailRow:
    row = await ledger.order(item.id, order_id, "ann")
    assert row is not None
    return row


async def stand(ledger: SqlLedger, item: Item) -> tuple[int, int, int, int]:
    """(pool, pre-allocated, held, sold)."""
    it = await ledger.standing(item.id)
    return it.pool, it.preallocated, it.held, it.sold


async def test_a_hold_that_is_paid_and_refunded(ledger: SqlLedger) -> None:
    item = await item_of(ledger)
    assert await play(ledger, item, hold(1, "o", metadata="läuft {x}:'\"\\")) == Applied(status="applied", watermark=1)
    assert await stand(ledger, item) == (50, 48, 2, 0)
    row = await row_of(ledger, item, "o")
    assert (row.state, row.born, row.expires_at_ms, row.metadata) == ("held", "held", SOON, "läuft {x}:'\"\\")
    await play(ledger, item, step(2, "payment_begun", "o", expires_at=SOON + 1))
    assert (await row_of(ledger, item, "o")).paying
    await play(ledger, item, step(3, "extended", "o", expires_at=SOON + 2))
    assert (await row_of(ledger, item, "o")).expires_at_ms == SOON + 2
    await play(ledger, item, step(4, "confirmed", "o", payment_ref="pay-9"))
    assert await stand(ledger, item) == (50, 48, 0, 2)
    row = await row_of(ledger, item, "o")
    assert (row.state, row.paying, row.payment_ref) == ("confirmed", False, "pay-9")
    assert (row.step_incarnation, row.step_seq, row.step_at_ms) == (1, 4, NOW + 4)
    assert (await play(ledger, item, step(5, "refunded", "o", 1))).returned == 1
    assert ((await row_of(ledger, item, "o")).state, await stand(ledger, item)) == ("confirmed", (51, 48, 0, 1))
    await play(ledger, item, step(6, "refunded", "o", 1))
    row = await row_of(ledger, item, "o")
    assert (row.state, row.refunded, row.attempt) == ("refunded", 2, 1)
    assert await stand(ledger, item) == (52, 48, 0, 0)
    await books_hold(ledger, item.id)
    assert await ledger.history(item.id, "o", "ann") == [
        _event(1, "held", 2, SOON + 2),
        _event(2, "payment_begun", 2, SOON + 1),
        _event(3, "extended", 2, SOON + 2),
        _event(4, "confirmed", 2, payment_ref="pay-9"),
        _event(5, "refunded", 1),
        _event(6, "refunded", 1),
    ]


def _event(seq: int, kind: str, quantity: int, expires_at_ms: int = 0, payment_ref: str = "") -> EventRow:
    return EventRow(
        kind=kind,
        quantity=quantity,
        partition=0,
        incarnation=1,
        seq=seq,
        at_ms=NOW + seq,
        expires_at_ms=expires_at_ms,
        payment_ref=payment_ref,
    )


@pytest.mark.parametrize("kind", ["released", "expired"])
async def test_the_units_of_a_hold_that_ends_are_in_the_pool(ledger: SqlLedger, kind: str) -> None:
    item = await item_of(ledger)
    applied = await play(ledger, item, hold(1, "o"), sale(2), given_back(3, 4), step(4, kind, "o"))
    assert applied == Applied(status="applied", watermark=4, returned=6)
    assert await stand(ledger, item) == (56, 43, 0, 1)
    row = await row_of(ledger, item, "o")
    assert (row.state, row.step_seq, row.step_at_ms) == (kind, 4, NOW + 4)
    await books_hold(ledger, item.id)


async def test_a_message_may_have_a_whole_life_and_others_beside_it(ledger: SqlLedger) -> None:
    item = await item_of(ledger)
    events = [
        hold(1, "a"),
        hold(2, "b", 3, cart=True),
        sale(3, "c", 4, "ann"),
        step(4, "confirmed", "a"),
        step(5, "extended", "b", 3, expires_at=SOON + 5),
        step(6, "confirmed", "c", 4, payment_ref="late"),
        step(7, "refunded", "a", 2),
        step(8, "deducted", "d", 1, metadata="m"),
    ]
    assert (await play(ledger, item, *events)).returned == 2
    assert await stand(ledger, item) == (52, 40, 3, 5)
    rows = [await row_of(ledger, item, order) for order in "abcd"]
    assert [(row.state, row.born, row.seq) for row in rows] == [
        ("refunded", "held", 1),
        ("held", "held", 2),
        ("confirmed", "deducted", 3),
        ("confirmed", "deducted", 8),
    ]
    assert (rows[1].cart, rows[2].payment_ref, rows[3].metadata) == (True, "late", "m")
    await books_hold(ledger, item.id)


@pytest.mark.parametrize("cut", range(1, 8))
async def test_wherever_messages_are_cut_the_end_is_the_same(ledger: SqlLedger, cut: int) -> None:
    item = await item_of(ledger)
    events = [
        hold(1, "a"),
        step(2, "released", "a"),
        step(3, "deducted", "a", 3),
        hold(4, "b"),
        step(5, "payment_begun", "b", expires_at=SOON),
        step(6, "expired", "b"),
        hold(7, "b", 1),
        step(8, "confirmed", "b", 1, payment_ref="p"),
    ]
    await play(ledger, item, *events[:cut])
    await books_hold(ledger, item.id)
    await play(ledger, item, *events)
    assert await stand(ledger, item) == (54, 42, 0, 4)
    a, b = await row_of(ledger, item, "a"), await row_of(ledger, item, "b")
    assert (a.state, a.attempt, a.seq, a.step_seq, a.quantity) == ("confirmed", 2, 3, 0, 3)
    assert (b.state, b.attempt, b.seq, b.step_seq, b.payment_ref) == ("confirmed", 2, 7, 8, "p")
    assert [each.kind for each in await ledger.history(item.id, "b", "ann")] == [
        "held",
        "payment_begun",
        "expired",
        "held",
        "confirmed",
    ]
    await books_hold(ledger, item.id)


async def test_a_sale_begins_an_ended_order_anew(ledger: SqlLedger, database: Database) -> None:
    """Also on the way that plain sales take."""
    item = await item_of(ledger)
    await play(ledger, item, hold(1, "o"), step(2, "expired", "o"))
    assert await play(ledger, item, sale(3, "n"), sale(4, "o", 5, "ann"), sale(5, "m")) == Applied(
        status="applied", watermark=5
    )
    row = await row_of(ledger, item, "o")
    assert (row.state, row.born, row.attempt, row.quantity, row.expires_at_ms) == ("confirmed", "deducted", 2, 5, 0)
    assert await stand(ledger, item) == (52, 41, 0, 7)
    assert database.execute("SELECT kind, quantity, at FROM steps WHERE seq = 1") == ("held", 2, NOW + 1)
    assert database.execute("SELECT count(*), max(seq) FROM events WHERE order_id = 'o' AND kind = 'held'") == (1, 1)
    await books_hold(ledger, item.id)


@pytest.mark.parametrize("state", ["held", "confirmed", "refunded"])
async def test_an_order_that_has_not_ended_is_not_sold_again(ledger: SqlLedger, state: str) -> None:
    item = await item_of(ledger)
    life = {"held": [], "confirmed": ["confirmed"], "refunded": ["confirmed", "refunded"]}[state]
    await play(ledger, item, hold(1, "o"), *(step(seq, kind, "o") for seq, kind in enumerate(life, 2)))
    before = await stand(ledger, item)
    seq = len(life) + 2
    applied = await play(ledger, item, hold(seq, "o", 7), step(seq + 1, "deducted", "o", 1))
    assert applied.returned == 8
    pool, preallocated, held, sold = before
    assert await stand(ledger, item) == (pool + 8, preallocated - 8, held, sold)
    assert (await row_of(ledger, item, "o")).seq == 1
    await books_hold(ledger, item.id)


@pytest.mark.parametrize("kind", ["confirmed", "released", "expired", "extended", "payment_begun", "refunded"])
async def test_a_step_that_the_order_does_not_allow_is_parked_and_gives_nothing_back(
    ledger: SqlLedger, database: Database, kind: str
) -> None:
    item = await item_of(ledger)
    await play(ledger, item, hold(1, "o"), step(2, "expired", "o"), sale(3, "p"))
    before, figures = await stand(ledger, item), await figures_of(ledger, item.id)
    assert await play(ledger, item, step(4, kind, "o"), sale(5, "q", 3)) == Applied(status="applied", watermark=5)
    pool, preallocated, held, sold = before
    assert await stand(ledger, item) == (pool, preallocated - 3, held, sold + 3)
    assert (await figures_of(ledger, item.id))[-1] == figures[-1] + 2
    assert (await row_of(ledger, item, "o")).step_seq == 2
    assert database.execute("SELECT seq, reason FROM parked") == (
        4,
        "the order is expired, with 0 of 2 units refunded",
    )


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (step(2, "released", "nobody"), "the ledger does not have the order"),
        (step(2, "released", "o", 1), "the order has 2 units"),
        (step(2, "refunded", "o", 3), "the order is held"),
        (step(2, "confirmed", "o", payment_ref="a b"), "payment_ref must be"),
        (step(2, "confirmed", "o", payment_ref="x" * 129), "payment_ref must be"),
        (step(2, "confirmed", "o", payment_ref="a\0b"), "payment_ref must be"),
        (step(2, "extended", "o", expires_at=10**15), "expires_at must be"),
        (step(2, "released", "o", buyer_id="{}"), "buyer_id must be"),
        (step(2, "released", ""), "order_id must be"),
    ],
)
async def test_a_step_that_is_none_is_parked(ledger: SqlLedger, database: Database, event: Event, reason: str) -> None:
    item = await item_of(ledger)
    await play(ledger, item, hold(1, "o"))
    assert await play(ledger, item, event) == Applied(status="applied", watermark=2)
    assert await stand(ledger, item) == (50, 48, 2, 0)
    assert reason in str(database.execute("SELECT reason FROM parked WHERE seq = 2")[0])


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (hold(1, "o", metadata="x" * 257), "metadata must be"),
        (hold(1, "o", metadata="a\0b"), "metadata must be"),
        (hold(1, "o", expires_at=-1), "expires_at must be"),
        (hold(1, "o", buyer_id="{}"), "buyer_id must be"),
    ],
)
async def test_the_units_of_a_hold_that_can_be_no_row_have_gone(
    ledger: SqlLedger, database: Database, event: Event, reason: str
) -> None:
    item = await item_of(ledger)
    await play(ledger, item, event, hold(2, "p", metadata="x" * 256))
    assert await stand(ledger, item) == (50, 46, 2, 2)
    assert reason in str(database.execute("SELECT reason FROM parked WHERE seq = 1")[0])
    assert (await row_of(ledger, item, "p")).metadata == "x" * 256


async def test_a_payment_is_named_once(ledger: SqlLedger) -> None:
    item = await item_of(ledger)
    await play(ledger, item, sale(1, "o", 2, "ann"), step(2, "confirmed", "o", payment_ref="first"))
    await play(ledger, item, step(3, "confirmed", "o", payment_ref="other"))
    assert (await row_of(ledger, item, "o")).payment_ref == "first"
    assert (await ledger.figures()).parked == 1


async def test_a_step_from_another_partition_is_parked(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(total=100, partitions=2), 20, 20)
    await play(ledger, item, hold(1, "o"))
    other = message(ledger, item.id, [step(1, "released", "o")], partition=1)
    assert await ledger.apply(other) == Applied(status="applied", watermark=1)
    assert (await row_of(ledger, item, "o")).state == "held"
    assert (await ledger.figures()).parked == 1


async def test_orders_are_listed_by_state_and_age(ledger: SqlLedger) -> None:
    item = await item_of(ledger)
    await play(ledger, item, *(hold(seq, f"o-{seq}") for seq in range(1, 7)), step(7, "released", "o-3"))
    assert [row.order_id for row in await ledger.orders(item.id, "released", None, None, 9)] == ["o-3"]
    pages, after = [], None
    while page := await ledger.orders(item.id, "held", NOW + 6, after, 2):
        pages.append([row.seq for row in page])
        after = page[-1]
    assert pages == [[1, 2], [4, 5]]
    assert len(await ledger.orders(item.id, None, None, None, 9)) == 6


async def test_a_large_message_of_holds_and_confirms_is_applied(ledger: SqlLedger) -> None:
    item = await open_item(ledger, spec(), 5_000)
    await play(ledger, item, *(hold(seq, f"o-{seq}", 1) for seq in range(1, 5_001)))
    for first in (5_001, 7_501):
        await play(
            ledger, item, *(step(seq, "confirmed", f"o-{seq - 5_000}", 1) for seq in range(first, first + 2_500))
        )
    assert await ledger.standing(item.id) == Standing(total=10_000, pool=5_000, preallocated=0, sold=5_000)
    await books_hold(ledger, item.id)

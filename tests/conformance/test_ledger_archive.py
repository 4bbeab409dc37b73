"""An archived item is as it was, in other tables."""

import asyncio
import json

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, books_hold, given_back, message, open_item, sale, spec

from hotsku.cli.main import run
from hotsku.domain.events import Event, EventKind
from hotsku.domain.item import Item
from hotsku.errors import InvalidRequest, UnknownItem
from hotsku.ledger import SqlLedger, archive
from hotsku.ports import Archived


async def sold_item(ledger: SqlLedger, sku: str = "sneaker") -> Item:
    """An item of two partitions, with orders in both, a return, and an order that was sold twice."""
    item = await open_item(ledger, spec(sku, total=100, partitions=2, limit_per_buyer=50), 30, 30)
    orders = [sale(seq, f"o-{seq}", buyer_id="ann") for seq in range(1, 8)]
    await ledger.apply(message(ledger, item.id, [*orders, given_back(8, 3)]))
    await ledger.apply(message(ledger, item.id, [sale(1, "p-1"), sale(2, "o-1", 2, "ann")], partition=1))
    return item


async def archived(ledger: SqlLedger, item: Item, limit: int = 3) -> list[int]:
    """Archive the item to the end; how many rows each step moved."""
    moved = []
    while not (step := await ledger.archive_item(item.id, limit, NOW)).done:
        moved.append(step.moved)
    return moved


@pytest.mark.anyio
async def test_what_is_archived_is_still_found_and_counted(ledger: SqlLedger, database: Database) -> None:
    item, other = await sold_item(ledger), await sold_item(ledger, "other")
    database.execute("UPDATE items SET state = 'closed' WHERE id = :id", id=item.id)
    figures, details = await ledger.figures(), await ledger.details(item.id, None, 100)
    events = database.execute("SELECT count(*), sum(quantity) FROM events")
    order = await ledger.order(item.id, "o-7", "ann")
    assert await archived(ledger, item) == [3, 3, 1, 1, 1, 1]
    assert await ledger.figures() == figures
    assert await ledger.details(item.id, None, 100) == details
    assert await ledger.details(item.id, details[2], 3) == details[3:6]
    assert await ledger.order(item.id, "o-7", "ann") == order is not None
    assert database.execute("SELECT count(*), sum(quantity) FROM events") == events
    await books_hold(ledger, item.id)
    assert database.execute("SELECT count(*) FROM deductions WHERE item_id = :id", id=item.id) == (0,)
    assert database.execute("SELECT count(*) FROM steps WHERE item_id = :id", id=item.id) == (0,)
    assert database.execute("SELECT count(*) FROM deductions WHERE item_id = :id", id=other.id) == (8,)
    assert database.execute("SELECT archived_at FROM items WHERE id = :id", id=item.id) == (NOW,)


@pytest.mark.anyio
async def test_archiving_that_was_cut_off_goes_on_and_is_sound_meanwhile(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await sold_item(ledger)
    database.execute("UPDATE items SET state = 'closed'")
    figures = await ledger.figures()
    assert await ledger.archive_item(item.id, 3, NOW) == Archived(moved=3, done=False)

    def end(*_: object) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the end"):  # noqa: PT012
        patch.setattr(archive, "delete", end)
        await ledger.archive_item(item.id, 3, NOW)
    assert await ledger.figures() == figures
    details = await ledger.details(item.id, None, 100)
    assert [(row.partition, row.seq) for row in details] == [*((0, seq) for seq in range(1, 8)), (1, 1)]
    assert await archived(ledger, item) == [3, 1, 1, 1, 1]
    assert await ledger.archive_item(item.id, 3, NOW + 5) == Archived(moved=0, done=True)
    assert database.execute("SELECT archived_at FROM items") == (NOW,)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "corruption",
    [
        "UPDATE archived_deductions SET quantity = 60 WHERE seq = 2",
        "DELETE FROM archived_deductions WHERE seq = 2",
        "DELETE FROM archived_steps WHERE seq = 8",
        "UPDATE archived_deductions SET state = 'odd' WHERE seq = 2",
        "INSERT INTO deductions SELECT * FROM archived_deductions WHERE seq = 2",
    ],
)
async def test_a_corrupt_archive_shows(ledger: SqlLedger, database: Database, corruption: str) -> None:
    item = await sold_item(ledger)
    database.execute("UPDATE items SET state = 'closed'")
    await archived(ledger, item)
    before = await ledger.figures()
    database.execute(corruption)
    assert await ledger.figures() != before


@pytest.mark.anyio
async def test_only_a_closed_item_is_archived(ledger: SqlLedger) -> None:
    item = await sold_item(ledger)
    with pytest.raises(InvalidRequest, match="sku must be that of a closed item; sneaker is open: close it first"):
        await ledger.archive_item(item.id, 10, NOW)
    with pytest.raises(UnknownItem):
        await ledger.archive_item(item.id + 1, 10, NOW)
    for limit in (0, 100_001):
        with pytest.raises(InvalidRequest, match="limit must be"):
            await ledger.archive_item(item.id, limit, NOW)


def test_the_command_archives(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOTSKU_LEDGER_URL", database.url)
    monkeypatch.setenv("HOTSKU_SHARD_URL", "redis://127.0.0.1:1")  # it needs none
    ledger = database.open_only()
    asyncio.run(sold_item(ledger))
    ledger.close_now()
    archive_it = ["item", "archive", "sneaker", "--json"]
    assert run(archive_it) == 2
    assert "sku must be that of a closed item" in capsys.readouterr().err
    database.execute("UPDATE items SET state = 'closed'")
    for moved in (10, 0):
        assert run(archive_it) == 0
        assert json.loads(capsys.readouterr().out) == {"sku": "sneaker", "moved": moved}
    assert run(["item", "archive", "nothing"]) == 1


@pytest.mark.anyio
async def test_orders_that_were_archived_are_still_stepped_on(ledger: SqlLedger, database: Database) -> None:
    """An item may be closed while its holds are being paid, and paid orders are refunded at any time."""
    item = await open_item(ledger, spec(total=100), 30)
    births = [
        Event(seq=seq, kind=EventKind.HELD, quantity=2, at=NOW, order_id=f"o-{seq}", expires_at=NOW, metadata="m")
        for seq in (1, 2, 3)
    ]
    await ledger.apply(message(ledger, item.id, births))
    await ledger.set_item_state(item.id, "closed")
    assert await archived(ledger, item) == [3]
    paid = [
        Event(seq=4, kind=EventKind.CONFIRMED, quantity=2, at=NOW, order_id="o-2", payment_ref="pay"),
        Event(seq=5, kind=EventKind.RELEASED, quantity=2, at=NOW, order_id="o-3"),
    ]
    assert (await ledger.apply(message(ledger, item.id, paid))).returned == 2
    rows = await ledger.details(item.id, None, 9)
    assert [(row.state, row.metadata, row.payment_ref) for row in rows] == [
        ("held", "m", ""),
        ("confirmed", "m", "pay"),
        ("released", "m", ""),
    ]
    assert database.execute("SELECT count(*) FROM archived_deductions") == (1,)
    await books_hold(ledger, item.id)
    history = await ledger.history(item.id, "o-2", "")
    assert await archived(ledger, item) == [2, 2]
    assert await ledger.history(item.id, "o-2", "") == history
    assert [event.kind for event in history] == ["held", "confirmed"]
    await books_hold(ledger, item.id)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["held", "deducted"])
async def test_an_archived_order_that_had_begun_anew_has_one_row(ledger: SqlLedger, kind: str) -> None:
    """The shard had forgotten that it ended, and took it again before the item was closed; the ledger was behind."""
    item = await open_item(ledger, spec(total=100), 30)
    first = [
        Event(seq=1, kind=EventKind.HELD, quantity=2, at=NOW, order_id="ended", expires_at=NOW),
        Event(seq=2, kind=EventKind.EXPIRED, quantity=2, at=NOW, order_id="ended"),
        sale(3, "sold"),
    ]
    await ledger.apply(message(ledger, item.id, first))
    await ledger.set_item_state(item.id, "closed")
    await archived(ledger, item)
    anew = Event(seq=4, kind=EventKind(kind), quantity=3, at=NOW, order_id="ended")
    assert (await ledger.apply(message(ledger, item.id, [anew, sale(5, "sold", 4)]))).returned == 4
    await books_hold(ledger, item.id)
    rows = await ledger.details(item.id, None, 9)
    assert [(row.order_id, row.seq, row.quantity) for row in rows] == [("sold", 3, 1), ("ended", 4, 3)]
    history = await ledger.history(item.id, "ended", "")
    assert [event.kind for event in history] == ["held", "expired", kind]
    await archived(ledger, item)
    assert await ledger.details(item.id, None, 9) == rows
    await books_hold(ledger, item.id)

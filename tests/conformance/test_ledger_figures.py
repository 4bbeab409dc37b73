"""What the auditor reads must be able to say that something is wrong: each corruption shows in one figure."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text
from tests.support.databases import Database
from tests.support.ledger import given_back, message, open_item, sale, spec

from hotsku.ledger import SqlLedger, figures
from hotsku.ledger.leases import list_partitions
from hotsku.ports import LedgerFigures, PartitionRow, Tally

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[SqlLedger]:
    ledger = database.open_only()
    item = await open_item(ledger, spec(total=100, partitions=2, limit_per_buyer=3), 20, 30)
    await ledger.apply(message(ledger, item.id, [sale(1, "o", 2, "ann"), given_back(2, 5), sale(3, "p", 1, "ann")]))
    await open_item(ledger, spec("other", total=7), 1)
    yield ledger
    await ledger.close()


async def test_figures_are_counted_from_the_rows(ledger: SqlLedger) -> None:
    counted = await ledger.figures(1)
    (item,) = counted.items
    assert (item.item_id, item.sku, item.total, item.pool) == (1, "sneaker", 100, 55)
    sold, idle = counted.partitions
    assert (sold.leases, sold.deductions, sold.steps, sold.parked) == (
        Tally(count=1, quantity=20, last=1),
        Tally(count=2, quantity=3, last=3),
        Tally(count=1, quantity=5, last=2),
        0,
    )
    assert (idle.leases.quantity, idle.deductions, idle.steps) == (30, Tally(), Tally())
    assert _alarms(counted) == (0, 0, 0, 0)


async def test_figures_of_all_items_hold_each(ledger: SqlLedger) -> None:
    counted = await ledger.figures()
    assert [item.sku for item in counted.items] == ["sneaker", "other"]
    assert [each.row.item_id for each in counted.partitions] == [1, 1, 2]
    assert (await ledger.figures(77)).items == []


async def test_figures_are_one_snapshot_whatever_is_committed_meanwhile(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_then_another_leases(connection: Connection, item_id: int | None) -> list[PartitionRow]:
        rows = list_partitions(connection, item_id)
        with database.connection() as other:
            other.execute(text("UPDATE partitions SET granted = granted + 7, lease_no = 2 WHERE id = 1"))
            other.execute(text("INSERT INTO leases VALUES (1, 0, 1, 2, 7, 0)"))
            other.execute(text("UPDATE items SET pool = pool - 7 WHERE id = 1"))
        return rows

    before = await ledger.figures(1)
    with monkeypatch.context() as patch:
        patch.setattr(figures, "list_partitions", read_then_another_leases)
        assert await ledger.figures(1) == before
    assert (await ledger.figures(1)).items[0].pool == before.items[0].pool - 7


@pytest.mark.parametrize(
    ("corruption", "alarms"),
    [
        ("UPDATE deductions SET quantity = 3 WHERE seq = 1", (0, 0, 0, 1)),
        ("UPDATE deductions SET incarnation = 2 WHERE seq = 1", (1, 0, 0, 0)),
        ("UPDATE leases SET incarnation = 2 WHERE quantity = 30", (1, 0, 0, 0)),
        ("INSERT INTO parked (item_id, seq, reason, body, digest, at) VALUES (1, 4, '', '', '', 0)", (0, 1, 0, 0)),
    ],
)
async def test_a_corruption_shows(
    ledger: SqlLedger, database: Database, corruption: str, alarms: tuple[int, int, int, int]
) -> None:
    database.corrupt(corruption)
    assert _alarms(await ledger.figures(1)) == alarms
    assert _alarms(await ledger.figures(2)) == (0, 0, 0, 0)


async def test_an_order_counted_twice_shows_where_no_index_prevents_it(empty_database: Database) -> None:
    ledger = empty_database.open()
    item = await open_item(ledger, spec(total=100), 20)
    await ledger.apply(message(ledger, item.id, [sale(1, "o"), sale(2, "p")]))
    with empty_database.connection() as connection:
        connection.execute(text("CREATE TABLE copy AS SELECT * FROM deductions"))
        connection.execute(text("DROP VIEW events"))
        connection.execute(text("DROP TABLE deductions"))
        connection.execute(text("ALTER TABLE copy RENAME TO deductions"))
        connection.execute(text("UPDATE deductions SET order_id = 'o'"))
    assert (await ledger.figures(1)).doubled == 1
    await ledger.close()


def _alarms(counted: LedgerFigures) -> tuple[int, int, int, int]:
    return counted.strays, counted.parked, counted.doubled, counted.over_limit

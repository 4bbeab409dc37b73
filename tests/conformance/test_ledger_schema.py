"""The tables in the code are the tables that the migrations make, and each database keeps what they promise."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import DBAPIError
from tests.support.databases import Database, new_database
from tests.support.ledger import message, open_item, sale, sales, spec
from tests.support.schemas import schema_of

from hotsku.ledger import SqlLedger
from hotsku.ledger.tables import metadata

TABLES = {
    "items",
    "adjustments",
    "partitions",
    "leases",
    "deductions",
    "steps",
    "events",
    "parked",
    "carts",
    "ledger",
}


def test_tables_and_migrations_make_the_same_schema(
    empty_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty_database.open().close_now()
    folder = tmp_path_factory.mktemp("other")
    with new_database(empty_database.kind, folder) as other, other.connection() as connection:
        metadata.create_all(connection)
        made = schema_of(connection)
    with empty_database.connection() as connection:
        migrated = schema_of(connection)
        # Defaults are compared below: alembic takes an identity for one where the database has none.
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        assert compare_metadata(context, metadata) == []
    assert migrated == made
    assert migrated.keys() >= TABLES
    assert all(migrated[name]["checks"] for name in ("items", "partitions", "deductions", "archived_steps"))


@pytest.mark.anyio
async def test_anyone_may_count_with_plain_sql(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 30)))
    assert database.execute("SELECT sum(quantity), max(attempt) FROM deductions") == (30, 1)
    counted = database.execute("SELECT kind, count(*), max(seq) FROM events GROUP BY kind")
    assert counted == ("deducted", 30, 30)


@pytest.mark.anyio
async def test_ids_compare_byte_by_byte(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(), 50)
    await ledger.create_item(spec("SNEAKER"), "durable", 0)
    orders = [sale(1, "o", 1, "b"), sale(2, "O", 2, "b"), sale(3, "o", 3, "B"), sale(4, "o", 4)]
    assert (await ledger.apply(message(ledger, item.id, orders))).returned == 0
    found = [
        await ledger.order(item.id, order, buyer) for order, buyer in (("o", "b"), ("O", "b"), ("o", "B"), ("o", ""))
    ]
    assert [row and row.quantity for row in found] == [1, 2, 3, 4]
    for order, buyer in (("o ", "b"), ("o", "b "), ("o", " "), ("ö", "b"), ("o\u00ad", "b")):
        assert await ledger.order(item.id, order, buyer) is None
    assert await ledger.item("sneaker ") is None
    assert database.execute("SELECT count(*) FROM items WHERE sku = 'Sneaker'") == (0,)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE items SET pool = -1",
        "UPDATE items SET pool = total + 1",
        "UPDATE partitions SET granted = applied + returned - 1",
        "UPDATE partitions SET watermark = -1",
        "UPDATE partitions SET state = 'odd'",
        "UPDATE partitions SET state = 'OPEN'",
        "UPDATE partitions SET state = 'closed'",
        "UPDATE partitions SET state = 'closed', final_seq = watermark",
        "UPDATE partitions SET state = 'closed', final_seq = watermark + 1, quarantined_until = 1",
        "UPDATE partitions SET final_seq = watermark",
        "UPDATE partitions SET quarantined_until = 1",
        "UPDATE deductions SET quantity = 0",
        "UPDATE deductions SET quantity = 1000000001",
        "UPDATE leases SET quantity = 0",
        "INSERT INTO ledger (id, ledger_id, created_at) VALUES (2, 'x', 1)",
        'INSERT INTO deductions (item_id, "partition", incarnation, seq, buyer_id, order_id, quantity, state,'
        ' created_at) SELECT item_id, "partition", incarnation, 9, buyer_id, order_id, quantity, state, created_at'
        " FROM deductions",
        "UPDATE items SET given_back = -1",
        "UPDATE leases SET item_id = 9",
    ],
)
async def test_a_change_that_would_break_conservation_cannot_be_committed(
    ledger: SqlLedger, database: Database, change: str
) -> None:
    item = await open_item(ledger, spec(), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 1)))
    before = await ledger.figures()
    with pytest.raises(DBAPIError):
        database.execute(change)
    assert await ledger.figures() == before


def test_the_settings_of_a_connection_are_those_that_survive_a_crash(database: Database) -> None:
    ledger = database.open_only()
    for engine in (ledger._database._writer, ledger._database._reader):
        with engine.connect() as connection:
            settings = _SETTINGS[database.kind]
            found = {query: str(connection.exec_driver_sql(query).scalar()) for query in settings}
        assert found == settings
    ledger.close_now()


_SETTINGS = {
    "sqlite": {
        "PRAGMA journal_mode": "wal",
        "PRAGMA synchronous": "2",
        "PRAGMA foreign_keys": "1",
        "PRAGMA busy_timeout": "5000",
    },
    "postgresql": {
        "SHOW synchronous_commit": "on",
        "SHOW lock_timeout": "5s",
        "SHOW client_encoding": "UTF8",
        "SHOW idle_in_transaction_session_timeout": "1min",
    },
    "mariadb": {
        "SELECT @@sql_mode": "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        "SELECT @@innodb_lock_wait_timeout": "5",
        "SELECT @@foreign_key_checks": "1",
        "SELECT @@check_constraint_checks": "1",
        "SELECT @@autocommit": "0",
    },
    "mysql": {
        "SELECT @@sql_mode": "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
        "SELECT @@innodb_lock_wait_timeout": "5",
        "SELECT @@foreign_key_checks": "1",
        "SELECT @@autocommit": "0",
    },
}

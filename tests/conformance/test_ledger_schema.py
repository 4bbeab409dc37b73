"""The tables in the code are the tables that the migrations make."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.support.ledger import message, open_at, open_item, sales, spec

from hotsku.ledger.migrate import HEAD
from hotsku.ledger.tables import metadata


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", "hotsku.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_tables_and_migrations_make_the_same_schema(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/tables.db")
    metadata.create_all(engine)
    engine.dispose()
    open_at(tmp_path).close_now()
    migrated = _schema(tmp_path / "ledger.db")
    del migrated["alembic_version"]
    assert migrated == _schema(tmp_path / "tables.db")
    assert {"items", "partitions", "leases", "deductions", "steps", "events", "parked", "ledger"} <= migrated.keys()


def test_the_settings_of_a_connection_are_those_that_survive_a_crash(tmp_path: Path) -> None:
    ledger = open_at(tmp_path)
    for engine in (ledger._database._writer, ledger._database._reader):
        with engine.connect() as connection:
            pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _PRAGMAS]
        assert dict(zip(_PRAGMAS, pragmas, strict=True)) == _PRAGMAS
    ledger.close_now()


@pytest.mark.anyio
async def test_anyone_may_count_with_plain_sql(tmp_path: Path) -> None:
    ledger = open_at(tmp_path)
    item = await open_item(ledger, spec(), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 30)))
    await ledger.close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert connection.execute("SELECT sum(quantity), max(attempt) FROM deductions").fetchone() == (30, 1)
        assert connection.execute("SELECT kind, count(*), max(seq) FROM events").fetchone() == ("deducted", 30, 30)


_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5_000}


def _schema(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", " ", sql).strip() for name, sql in rows}

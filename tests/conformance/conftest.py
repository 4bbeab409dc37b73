"""The ledger on every database that answers here; the same tests run on each."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.databases import KINDS, Database, new_database

from hotsku.ledger import SqlLedger
from hotsku.ledger import database as database_


@pytest.fixture(autouse=True)
def patient_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction is tried again however long the machine stood still meanwhile."""
    monkeypatch.setattr(database_, "_PATIENCE_S", 120)


@pytest.fixture(scope="session", params=KINDS)
def kept_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One migrated database of each kind: making one takes longer than a test."""
    with new_database(request.param, tmp_path_factory.mktemp("kept")) as database:
        database.migrate()
        yield database


@pytest.fixture
def database(kept_database: Database, tmp_path: Path) -> Database:
    """A migrated database of each kind without any rows."""
    if kept_database.kind == "sqlite":
        shutil.copy(kept_database.url.removeprefix("sqlite:///"), tmp_path / "ledger.db")
        return Database("sqlite", f"sqlite:///{tmp_path}/ledger.db")
    kept_database.clear()
    return kept_database


@pytest.fixture(params=KINDS)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind without any tables."""
    with new_database(request.param, tmp_path) as database:
        yield database


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[SqlLedger]:
    """The ledger in `database`."""
    ledger = database.open_only()
    yield ledger
    await ledger.close()

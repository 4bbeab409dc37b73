"""Somebody else has locked an item's row in the ledger: its own stock waits, and that of no other item."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from tests.support.databases import SERVERS, Database, new_database, plain_engine
from tests.support.engines import Bench, open_bench
from tests.support.servers import TestServer
from tests.support.workers import until

from hotsku import Deduction, Outcome
from hotsku.ledger import database as database_

pytestmark = pytest.mark.anyio

_UNITS = 64


@pytest.fixture(params=SERVERS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with new_database(request.param, tmp_path) as made:
        made.migrate()
        yield made


@pytest.fixture
async def bench(
    database: Database, module_valkey: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    # What waits for the lock never gives up by itself: whoever stands behind it would wait until the test is over.
    monkeypatch.setattr(database_, "_ATTEMPTS", 1_000)
    monkeypatch.setattr(database_, "_PATIENCE_S", 600)
    async with open_bench(module_valkey, tmp_path, ledger_url=database.url) as made:
        yield made


@contextmanager
def _locked(database: Database, sku: str) -> Iterator[None]:
    """The item's row is another session's meanwhile."""
    engine = plain_engine(make_url(database.url), database.kind)
    with engine.connect() as other:
        other.execute(text("SELECT id FROM items WHERE sku = :sku FOR UPDATE"), {"sku": sku})
        yield
        other.rollback()


def _somebody_waits(database: Database) -> bool:
    if database.kind == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    else:
        query = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return database.execute(query) != (0,)


async def test_a_locked_item_keeps_up_no_leases_of_another(bench: Bench, database: Database) -> None:
    await bench.workers()
    engine = await bench.engine()
    for sku in ("locked", "free"):
        await engine.create_item(sku, _UNITS, partitions=1)
    with _locked(database, "locked"):
        waiting = [asyncio.create_task(engine.deduct("locked", 1, order_id=f"o-{n}")) for n in range(_UNITS)]
        await until(lambda: asyncio.to_thread(_somebody_waits, database))
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(engine.deduct("free", 1, order_id=f"o-{n}") for n in range(_UNITS)))
        assert _accepted(answers) == _UNITS
        assert not all(each.done() for each in waiting)
    assert _accepted(await asyncio.gather(*waiting)) == _UNITS
    for sku in ("free", "locked"):
        await bench.settled(sku, _UNITS)


def _accepted(answers: list[Deduction]) -> int:
    return sum(answer.outcome is Outcome.ACCEPTED for answer in answers)

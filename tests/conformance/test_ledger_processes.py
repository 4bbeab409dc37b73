"""Several processes on one database, some of which die in the middle."""

import asyncio
import multiprocessing
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, figures_of, message, open_at, open_item, sales, spec

from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable, IdempotencyConflict
from hotsku.ledger import SqlLedger, apply, sqlite
from hotsku.ports import Grant

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.databases"])  # a process that imports it all takes a second to start
_ROUNDS = 40


def _start(target: Callable[..., None], *args: object) -> BaseProcess:
    process = _FORKS.Process(target=target, args=args)
    process.start()
    return process


def _finish(*processes: BaseProcess) -> list[int | None]:
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def _create(database: Database, total: int) -> None:
    async def run(ledger: SqlLedger) -> None:
        try:
            await ledger.create_item(spec(total=total, partitions=3), "durable", NOW)
        except IdempotencyConflict:
            os._exit(7)

    ledger = database.open_only()
    asyncio.run(run(ledger))
    ledger.close_now()


def _open(database: Database, folder: Path, number: int) -> None:
    ledger = database.open()
    (folder / f"id-{number}").write_text(ledger.ledger_id)
    ledger.close_now()


def _lease_and_apply(database: Database, item_id: int) -> None:
    """Race for every lease number and every message of one partition."""

    async def run(ledger: SqlLedger) -> None:
        ref = PartitionRef(item_id, 0)
        for round_ in range(_ROUNDS):
            await ledger.lease([Grant(ref, 1, round_, 10)], NOW)
            again = ledger.lease([Grant(ref, 1, round_, 10)], NOW)
            await asyncio.gather(ledger.apply(message(ledger, item_id, sales(1, round_ + 1))), again)

    ledger = database.open_only()
    asyncio.run(run(ledger))
    ledger.close_now()


def _die_while_applying(database: Database, item_id: int) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    apply._move_pool = die  # type: ignore[assignment]
    ledger = database.open_only()
    asyncio.run(ledger.apply(message(ledger, item_id, sales(1, 1_000))))


def test_processes_that_open_a_new_database_at_once_open_the_same_ledger(
    empty_database: Database, tmp_path: Path
) -> None:
    assert _finish(*[_start(_open, empty_database, tmp_path, number) for number in range(4)]) == [0, 0, 0, 0]
    ids = {path.read_text() for path in tmp_path.glob("id-*")}
    assert len(ids) == 1
    assert re.fullmatch("[0-9a-f]{8,12}", ids.pop())


def test_two_processes_that_make_one_item_make_one(database: Database) -> None:
    ledger = database.open()
    assert _finish(*[_start(_create, database, 100) for _ in range(3)]) == [0, 0, 0]
    assert len(asyncio.run(ledger.partitions())) == 3
    ledger.close_now()


def test_of_two_processes_that_make_an_item_differently_one_hears_of_it(database: Database) -> None:
    database.open().close_now()
    assert sorted(code or 0 for code in _finish(*[_start(_create, database, total) for total in (100, 101)])) == [0, 7]


@pytest.mark.anyio
async def test_two_processes_lease_and_apply_everything_once(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(total=1_000))
    processes = [_start(_lease_and_apply, database, item.id) for _ in range(2)]
    assert await asyncio.to_thread(_finish, *processes) == [0, 0]
    assert await figures_of(ledger, item.id) == (1_000 - 10 * _ROUNDS, 10 * _ROUNDS, _ROUNDS, 0, _ROUNDS)
    figures = (await ledger.figures()).partitions[0]
    assert (figures.leases.count, figures.leases.quantity, figures.deductions.count) == (_ROUNDS, 10 * _ROUNDS, _ROUNDS)


@pytest.mark.anyio
async def test_a_process_killed_in_a_transaction_has_moved_nothing(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(), 2_000)
    before = await ledger.figures()
    process = _start(_die_while_applying, database, item.id)
    assert await asyncio.to_thread(_finish, process) == [-signal.SIGKILL]
    assert await ledger.figures() == before
    assert (await ledger.apply(message(ledger, item.id, sales(1, 1_000)))).watermark == 1_000


@pytest.mark.anyio
async def test_a_file_that_stays_locked_is_unavailable_and_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 10)
    ledger = open_at(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailable, match="database is locked"):
            await ledger.create_item(spec(), "durable", NOW)
        assert await ledger.items(None, 1) == []
    assert (await ledger.create_item(spec(), "durable", NOW)).item.id == 1
    await ledger.close()

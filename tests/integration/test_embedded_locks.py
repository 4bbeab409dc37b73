"""Locks between processes, and the parts of the folder that one process can show."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from tests.support.folder_processes import Folder, embedded_folder, eventually

from hotsku.errors import BackendUnavailable
from hotsku.shard.embedded import EmbeddedFolder
from hotsku.shard.locks import FileLock
from hotsku.shard.probe import probe
from hotsku.shard.seat import WorkerSeat

pytestmark = pytest.mark.anyio

HOLDER = Path(__file__).parents[1] / "support" / "lock_holder.py"


@pytest.fixture
def folder() -> Iterator[Folder]:
    with embedded_folder() as made:
        yield made


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[FileLock, FileLock]]:
    """The same lock, as two processes would have it."""
    pair = FileLock(tmp_path / "l"), FileLock(tmp_path / "l")
    yield pair
    for lock in pair:
        lock.close()


async def test_many_share_and_one_excludes(locks: tuple[FileLock, FileLock]) -> None:
    one, other = locks
    assert one.try_take(shared=True)
    assert other.try_take(shared=True)
    assert not one.try_take()
    assert not one.held
    assert not other.taken_by_another()
    assert one.try_take()
    assert other.taken_by_another()
    assert not await other.take(shared=True, timeout_s=0.05)


async def test_a_wait_ends_when_the_lock_is_free(locks: tuple[FileLock, FileLock]) -> None:
    one, other = locks
    assert one.try_take()
    waiting = asyncio.create_task(other.take(timeout_s=60))
    await asyncio.sleep(0)
    one.release()
    assert await waiting


def test_a_deleted_or_remade_file_is_noticed(locks: tuple[FileLock, FileLock]) -> None:
    lock = locks[0]
    assert not lock.replaced()
    lock.path.unlink()
    assert lock.replaced()
    lock.path.touch()
    assert lock.replaced()


def test_a_forked_child_does_not_keep_its_killed_parents_lock(locks: tuple[FileLock, FileLock]) -> None:
    lock = locks[0]
    holder = subprocess.Popen([sys.executable, str(HOLDER), str(lock.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        assert not lock.try_take()
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        assert lock.try_take()
    finally:
        holder.stdout.close()
        os.kill(child, signal.SIGKILL)


async def test_a_started_server_is_prepared_once_before_it_is_used(folder: Folder) -> None:
    prepared: list[str] = []

    async def prepare(socket: Path) -> None:
        info = await probe(socket, 60)
        assert info is not None
        prepared.append(info.run_id)

    async with EmbeddedFolder(folder.path, on_server_started=prepare) as first:
        async with EmbeddedFolder(folder.path, on_server_started=prepare):
            pass
        assert len(prepared) == 1
        info = await probe(first.socket, 60)
        assert info is not None
        os.kill(info.pid, signal.SIGKILL)
        while len(prepared) == 1:  # noqa: ASYNC110 - the guard works beside us
            await asyncio.sleep(0.02)
        assert prepared == [info.run_id, prepared[1]]
    assert folder.ended()


async def test_a_preparation_that_failed_is_made_up_for(folder: Folder) -> None:
    failures = [RuntimeError("no library")]

    async def prepare(socket: Path) -> None:
        if failures:
            raise failures.pop()

    with pytest.raises(RuntimeError, match="no library"):
        await EmbeddedFolder(folder.path, on_server_started=prepare).__aenter__()
    assert folder.taken("server")
    async with EmbeddedFolder(folder.path, on_server_started=prepare):
        assert not failures
    assert folder.ended()


async def test_one_worker_at_a_time(folder: Folder) -> None:
    async with WorkerSeat(folder.path, linger_s=0) as seat:
        with pytest.raises(BackendUnavailable, match="another worker is at work in"):
            await WorkerSeat(folder.path, wait_s=0.05).__aenter__()
        assert await probe(seat.socket, 60)
        await seat.alone()
        await seat.stop_server()
        assert not folder.taken("server")


async def test_a_worker_that_is_cancelled_stops_the_server_where_nobody_is_left(folder: Folder) -> None:
    async with EmbeddedFolder(folder.path):
        async with WorkerSeat(folder.path):
            pass
        assert folder.taken("server")
    async with WorkerSeat(folder.path):
        assert folder.taken("server")
    assert folder.ended()


def test_a_user_killed_while_the_server_starts(folder: Folder) -> None:
    starter = folder.user()
    eventually(lambda: folder.taken("server"), "a starting server")
    starter.kill()
    answer = folder.user().answer()
    with Redis(unix_socket_path=str(answer["socket"]), socket_timeout=60) as redis:
        assert redis.ping()

"""Opening a ledger: it is made where it is absent, and a fault says in one line what to do."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag

import pytest
from tests.support.databases import Database
from tests.support.ledger import NOW, StillClock, open_at, spec

from hotsku.errors import BackendUnavailable, HotSKUError, InvalidSettings
from hotsku.ledger import SqlLedger, open_ledger
from hotsku.ledger.threads import Threads, Urgency

pytestmark = pytest.mark.anyio


def _open(url: str) -> None:
    open_ledger(url, clock=StillClock(), token_hex=lambda _: "00112233aa").close_now()


async def test_a_ledger_keeps_its_id_and_its_items(empty_database: Database) -> None:
    first = empty_database.open()
    item = (await first.create_item(spec(), "durable", NOW)).item
    await first.close()
    second = empty_database.open()
    assert second.ledger_id == first.ledger_id
    assert await second.item("sneaker") == item
    await second.close()


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    open_at(tmp_path / "deep" / "folder").close_now()
    assert (tmp_path / "deep" / "folder" / "ledger.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "oracle://host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "mysql:/x",
        "mysql://h",
        "postgresql://h/db/x",
    ],
)
def test_a_url_of_no_known_kind_is_refused(url: str) -> None:
    _is_one_line(url, InvalidSettings)


def test_a_path_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "text.db").write_text("this is not a database, whatever it is called\n" * 100)
    for path in ("file/ledger.db", "file/deep/ledger.db", "text.db", "."):
        message = _is_one_line(f"sqlite:///{tmp_path}/{path}", InvalidSettings)
        assert str(tmp_path) in message
        assert "can be written" in message


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ledgers = list(pool.map(lambda _: open_at(tmp_path), range(8)))
    assert len({ledger.ledger_id for ledger in ledgers}) == 1
    for ledger in ledgers:
        ledger.close_now()


async def test_a_closed_ledger_says_so(ledger: SqlLedger) -> None:
    await ledger.close()
    await ledger.close()
    for call in (ledger.items(None, 1), ledger.create_item(spec(), "durable", NOW)):
        with pytest.raises(BackendUnavailable, match="closed"):
            await call


async def test_with_several_writers_no_kind_waits_for_another() -> None:
    threads, gate = Threads(1, dict.fromkeys(Urgency, 1)), Flag()
    for blocked in Urgency:
        blocker = asyncio.ensure_future(threads.write(blocked, lambda: gate.wait(60)))
        for urgency in set(Urgency) - {blocked}:
            assert await threads.write(urgency, lambda: "done") == "done"
        assert not blocker.done()
        gate.set()
        assert await blocker
        gate.clear()
    threads.close()


async def test_changes_that_wait_for_one_thing_keep_up_no_other() -> None:
    """However many they are; and they go in their order."""
    threads, gate, done = Threads(1, dict.fromkeys(Urgency, 2)), Flag(), list[int]()

    def change(number: int) -> None:
        assert gate.wait(60)
        done.append(number)

    blocked = [
        asyncio.ensure_future(threads.write(Urgency.CHANGE, lambda number=number: change(number), "a"))  # type: ignore[misc]
        for number in range(10)
    ]
    await asyncio.sleep(0)
    for of in ("b", "c", None, "b"):
        assert await threads.write(Urgency.CHANGE, lambda: "changed", of) == "changed"
    assert not any(each.done() for each in blocked)
    gate.set()
    await asyncio.gather(*blocked)
    assert done == list(range(10))
    threads.close()


async def test_what_waits_is_finished_before_the_end() -> None:
    threads, gate = Threads(1, dict.fromkeys(Urgency, 2)), Flag()
    waiting = [asyncio.ensure_future(threads.write(Urgency.CHANGE, lambda: gate.wait(60), "a")) for _ in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(threads.close))
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    await closing
    with pytest.raises(BackendUnavailable, match="closed"):
        await threads.write(Urgency.CHANGE, lambda: None, "a")


async def test_waiting_leases_go_before_waiting_messages() -> None:
    threads, begun, gate, done = Threads(1), Flag(), Flag(), list[str]()

    def block() -> None:
        begun.set()
        assert gate.wait(60)

    blocker = asyncio.ensure_future(threads.write(Urgency.APPLY, block))
    assert await asyncio.to_thread(begun.wait, 60)  # else a thread that is slow to start would begin with another
    waiting = [
        asyncio.ensure_future(threads.write(urgency, lambda name=name: done.append(name)))  # type: ignore[misc]
        for urgency, name in [
            (Urgency.APPLY, "apply 1"),
            (Urgency.APPLY, "apply 2"),
            (Urgency.CHANGE, "item"),
            (Urgency.LEASE, "lease 1"),
            (Urgency.LEASE, "lease 2"),
        ]
    ]
    cancelled = asyncio.ensure_future(threads.write(Urgency.LEASE, lambda: done.append("cancelled")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(blocker, *waiting)
    assert done == ["lease 1", "lease 2", "item", "apply 1", "apply 2"]
    threads.close()


def _is_one_line(url: str, kind: type[HotSKUError]) -> str:
    with pytest.raises(kind) as caught:
        _open(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)

"""Deadlocks, lock waits, serialization failures, broken connections, a server away: tried again, told plainly."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Flag

import msgspec
import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from tests.support.databases import SERVERS, Database, Kind, plain_engine, server_url
from tests.support.ledger import (
    NOW,
    books_hold,
    cart_row,
    figures_of,
    given_back,
    message,
    open_item,
    sale,
    sales,
    spec,
)
from tests.support.own_databases import own_server

from hotsku.domain.cart import CartLine
from hotsku.domain.events import Event, EventKind, PartitionRef
from hotsku.errors import BackendUnavailable, ConservationBroken, InvalidSettings
from hotsku.ledger import SqlLedger, apply, mysql, postgresql
from hotsku.ledger import database as database_
from hotsku.ledger.places import Place
from hotsku.ports import Applied, Grant, Lease

pytestmark = pytest.mark.anyio
on_servers = pytest.mark.parametrize("kept_database", SERVERS, indirect=True)


class Errors:
    """Every error of the database, as the driver says it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.first = Flag()

    def look(self, context: ExceptionContext) -> None:
        error = context.original_exception
        self.seen.append(str(getattr(error, "sqlstate", None) or error.args[0]))
        self.first.set()


@contextmanager
def errors_seen() -> Iterator[Errors]:
    errors = Errors()
    event.listen(Engine, "handle_error", errors.look)
    try:
        yield errors
    finally:
        event.remove(Engine, "handle_error", errors.look)


def _backend_id(connection: Connection, kind: str) -> int:
    query = "SELECT pg_backend_pid()" if kind == "postgresql" else "SELECT connection_id()"
    return int(connection.exec_driver_sql(query).scalar_one())


def _end_backend(database: Database, backend_id: int) -> None:
    database.execute(
        f"SELECT pg_terminate_backend({backend_id}, 5000)" if database.kind == "postgresql" else f"KILL {backend_id}"
    )


@on_servers
async def test_a_connection_that_is_killed_in_a_transaction_is_replaced(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    move, ended = apply._move_pool, list[int]()

    def end_first(connection: Connection, item_id: int, moved: Sequence[Place]) -> None:
        if not ended:
            ended.append(_backend_id(connection, database.kind))
            _end_backend(database, ended[0])
        move(connection, item_id, moved)

    monkeypatch.setattr(apply, "_move_pool", end_first)
    applied = await ledger.apply(message(ledger, item.id, [sale(1), given_back(2, 9)]))
    assert applied == Applied(status="applied", watermark=2, returned=9)
    assert ended
    assert await figures_of(ledger, item.id) == (59, 50, 1, 9, 2)
    await books_hold(ledger, item.id)


@on_servers
async def test_connections_that_died_while_idle_are_replaced(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(total=100), 50)
    await ledger.apply(message(ledger, item.id, sales(1, 1)))
    for engine in (ledger._database._writer, ledger._database._reader):
        connections = [engine.connect() for _ in range(2)]
        ids = [_backend_id(connection, database.kind) for connection in connections]
        for connection in connections:
            connection.close()
        for backend_id in ids:
            _end_backend(database, backend_id)
    assert (await ledger.standing(item.id)).pool == 50
    ref = PartitionRef(item.id, 0)
    assert await ledger.lease([Grant(ref, 1, 1, 5)], NOW) == [Lease(ref, 1, 2, 5)]
    assert (await ledger.apply(message(ledger, item.id, sales(2, 3)))).status == "applied"


# What the server says, by a trigger that says it twice: (database kinds, SQLSTATE, error number).
GIVEN_UP = [
    ("postgresql", "40001", 0),
    ("postgresql", "40P01", 0),
    ("postgresql", "55P03", 0),
    ("mariadb", "40001", 1213),
    ("mariadb", "HY000", 1205),
    ("mysql", "40001", 1213),
    ("mysql", "HY000", 1205),
]


@on_servers
async def test_what_the_server_gives_up_is_made_again(ledger: SqlLedger, database: Database) -> None:
    item = await open_item(ledger, spec(total=100, partitions=2), 50, 10)
    ref = PartitionRef(item.id, 0)
    for number, (_, state, code) in enumerate([each for each in GIVEN_UP if each[0] == database.kind], start=1):
        with _giving_up_twice(database, state, code), errors_seen() as errors:
            assert await ledger.lease([Grant(ref, 1, number, 1)], NOW) == [Lease(ref, 1, number + 1, 1)]
        assert len(errors.seen) == 2
    await books_hold(ledger, item.id)


@contextmanager
def _giving_up_twice(database: Database, state: str, code: int) -> Iterator[None]:
    """Meanwhile, the first two changes of an item fail as told. What counts them takes no part in transactions."""
    if database.kind == "postgresql":
        make = [
            "CREATE SEQUENCE given_up",
            "CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('given_up') <= 2 THEN "
            f"RAISE EXCEPTION 'given up' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER give_up BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION give_up()",
        ]
        remove = ["DROP TRIGGER give_up ON items", "DROP FUNCTION give_up", "DROP SEQUENCE given_up"]
    else:
        counter = f"@given_up_{code}"
        give_up = f"SIGNAL SQLSTATE '{state}' SET MESSAGE_TEXT = 'given up', MYSQL_ERRNO = {code}"
        make = [
            "CREATE TRIGGER give_up BEFORE UPDATE ON items FOR EACH ROW BEGIN "
            f"SET {counter} = coalesce({counter}, 0) + 1; IF {counter} <= 2 THEN {give_up}; END IF; END"
        ]
        remove = ["DROP TRIGGER give_up"]
    for statement in make:
        with database.connection() as connection:
            connection.exec_driver_sql(statement)
    try:
        yield
    finally:
        for statement in remove:
            with database.connection() as connection:
                connection.exec_driver_sql(statement)


@on_servers
async def test_a_deadlock_is_outlived(ledger: SqlLedger, database: Database) -> None:
    """Another program locks the item and then wants the partition, which we take the other way round."""
    item = await open_item(ledger, spec(total=100), 50)

    def lock_the_other_way(ready: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        with plain_engine(make_url(database.url), database.kind).connect() as other:
            other.execute(text("UPDATE items SET pool = pool"))
            loop.call_soon_threadsafe(ready.set)
            _wait_until_it_waits(database)
            try:
                other.execute(text("UPDATE partitions SET reason = 'seen'"))
                other.commit()
            except DBAPIError:
                other.rollback()  # then it was chosen to give up

    ready = asyncio.Event()
    other = asyncio.create_task(asyncio.to_thread(lock_the_other_way, ready, asyncio.get_running_loop()))
    await ready.wait()
    applied = await ledger.apply(message(ledger, item.id, [sale(1), given_back(2, 9)]))
    await other
    assert (applied.status, applied.returned) == ("applied", 9)
    assert await figures_of(ledger, item.id) == (59, 50, 1, 9, 2)


def _wait_until_it_waits(database: Database) -> None:
    """Until somebody in the database waits for a lock."""
    if database.kind == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    else:
        query = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    while database.execute(query) == (0,):
        pass


@on_servers
async def test_a_lock_that_is_held_for_long_is_waited_for_and_then_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_MS", 200)
    monkeypatch.setattr(mysql, "LOCK_TIMEOUT_S", 1)
    monkeypatch.setattr(database_, "_ATTEMPTS", 2)
    ledger = database.open_only()
    item = await open_item(ledger, spec(total=100), 50)
    ref = PartitionRef(item.id, 0)
    engine = plain_engine(make_url(database.url), database.kind)
    with engine.connect() as other:
        other.execute(text("UPDATE items SET pool = pool"))
        with pytest.raises(BackendUnavailable, match=r"is unavailable: .*[lL]ock"):
            await ledger.lease([Grant(ref, 1, 1, 5)], NOW)
        assert await ledger.items(None, 5) == [item]
        monkeypatch.setattr(database_, "_ATTEMPTS", 100)  # the other one lets go after the first
        with errors_seen() as errors:
            leasing = asyncio.create_task(ledger.lease([Grant(ref, 1, 1, 5)], NOW))
            assert await asyncio.to_thread(errors.first.wait, 60)
            other.rollback()
            assert await leasing == [Lease(ref, 1, 2, 5)]
    await ledger.close()


@on_servers
async def test_a_locked_item_keeps_up_no_other(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its changes and leases wait: all others, and carts, go on."""
    monkeypatch.setattr(database_, "_ATTEMPTS", 1_000)
    locked = await open_item(ledger, spec("a", total=100, partitions=9), 50)
    refs = [PartitionRef(locked.id, number) for number in range(1, 9)]
    free = await open_item(ledger, spec("b", total=100), 50)
    engine = plain_engine(make_url(database.url), database.kind)
    with engine.connect() as other:
        other.execute(text("SELECT id FROM items WHERE id = :id FOR UPDATE"), {"id": locked.id})
        restocks = [asyncio.create_task(ledger.adjust(locked.id, f"r{number}", 1, NOW)) for number in range(20)]
        leases = [asyncio.create_task(ledger.lease([Grant(ref, 1, 0, 1)], NOW)) for ref in refs]
        await asyncio.to_thread(_wait_until_it_waits, database)
        assert (await ledger.adjust(free.id, "r", 5, NOW)).pool == 55
        assert (await ledger.set_item_state(free.id, "paused")).state == "paused"
        assert (await ledger.create_item(spec("c"), "durable", NOW)).new
        cart = cart_row("o", "u", CartLine("b", 1))
        assert await ledger.open_cart(cart) == cart
        assert (await ledger.hold_cart("o", "u", NOW + 1)).held
        assert await ledger.lease([Grant(PartitionRef(free.id, 0), 1, 1, 5)], NOW)
        assert not any(each.done() for each in (*restocks, *leases))
        other.rollback()
        assert [each.status for each in await asyncio.gather(*restocks)] == ["done"] * 20
        assert await asyncio.gather(*leases) == [[Lease(ref, 1, 1, 1)] for ref in refs]
    assert (await ledger.standing(locked.id)).total == 120
    await books_hold(ledger, locked.id)


@on_servers
async def test_nothing_waits_for_rows_of_another_item(ledger: SqlLedger, database: Database) -> None:
    """Also in tables that are so small that a database would rather look at all of their rows."""
    locked, free = await open_item(ledger, spec("a", total=100), 50), await open_item(ledger, spec("b", total=100), 50)
    for item in (locked, free):
        await ledger.apply(message(ledger, item.id, [_held(1), sale(2)]))
    with plain_engine(make_url(database.url), database.kind).connect() as other:
        for table, column in (
            ("items", "id"),
            ("partitions", "item_id"),
            ("deductions", "item_id"),
            ("leases", "item_id"),
        ):
            other.execute(text(f"SELECT 1 FROM {table} WHERE {column} = {locked.id} FOR UPDATE"))
        assert await ledger.lease([Grant(PartitionRef(free.id, 0), 1, 1, 5)], NOW)
        events = [sale(3), msgspec.structs.replace(_held(4), kind=EventKind.RELEASED), given_back(5, 5)]
        applied = await ledger.apply(message(ledger, free.id, events))
        assert applied == Applied(status="applied", watermark=5, returned=6)
        other.rollback()
    await books_hold(ledger, free.id)


def _held(seq: int) -> Event:
    return Event(seq=seq, kind=EventKind.HELD, quantity=1, at=NOW, order_id="h", buyer_id="u", expires_at=NOW + 1)


@on_servers
async def test_a_row_that_is_there_already_is_no_race_for_ever(
    ledger: SqlLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows above the watermark: somebody wrote to the database. It is told, and nothing moves."""
    monkeypatch.setattr(database_, "_ATTEMPTS", 3)
    item = await open_item(ledger, spec(total=100), 50)
    columns = 'item_id, "partition", incarnation, seq, kind, buyer_id, order_id, quantity, at'
    row = "(:item, 0, 1, 2, 'returned', '', '', 1, 1)"
    database.execute(f"INSERT INTO steps ({columns}) VALUES {row}", item=item.id)
    with pytest.raises(ConservationBroken, match="rolled it back"):
        await ledger.apply(message(ledger, item.id, [sale(1), given_back(2, 9)]))
    assert await figures_of(ledger, item.id) == (50, 50, 0, 0, 0)


@pytest.mark.parametrize("kind", SERVERS)
def test_settings_that_cannot_work_are_told_in_one_line_without_the_password(kind: Kind) -> None:
    good = server_url(kind)
    for bad in (
        good.set(username="nobody_here", password="hunter2"),
        good.set(database="no_such_database", password=good.password),
    ):
        wrong = Database(kind, bad.render_as_string(hide_password=False))
        for call in (wrong.open_only, wrong.migrate):
            with pytest.raises(InvalidSettings) as caught:
                call()
            line = str(caught.value)
            assert "\n" not in line
            assert "hunter2" not in line
            assert line.startswith("ledger_url: ")
            assert "name a database that this user may use" in line


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_not_there_is_unavailable(kind: Kind) -> None:
    away = server_url(kind).set(host="127.0.0.1", port=1, username="u", password="hunter2")
    with pytest.raises(BackendUnavailable, match="is unavailable") as caught:
        Database(kind, away.render_as_string(hide_password=False)).open_only()
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_server_that_crashes_and_comes_back_is_used_again(kind: Kind) -> None:
    with own_server(kind) as server:
        ledger = server.database.open()
        item = await open_item(ledger, spec(total=1000), 500)
        await ledger.apply(message(ledger, item.id, sales(1, 5)))
        server.kill()
        for call in (ledger.standing(item.id), ledger.apply(message(ledger, item.id, sales(6, 9)))):
            with pytest.raises(BackendUnavailable, match="is unavailable"):
                await call
        server.start()
        assert (await ledger.apply(message(ledger, item.id, sales(6, 9)))).status == "applied"
        assert (await ledger.standing(item.id)).sold == 9
        await books_hold(ledger, item.id)
        await ledger.close()

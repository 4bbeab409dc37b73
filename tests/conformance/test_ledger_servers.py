"""What only a database server has: users, versions, encodings, two names for one kind."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from tests.support.databases import SERVERS, Database
from tests.support.ledger import NOW, books_hold, given_back, message, open_item, sale, spec

from hotsku.domain.events import PartitionRef
from hotsku.errors import InvalidSettings
from hotsku.ledger import mysql, postgresql

pytestmark = pytest.mark.parametrize("kept_database", SERVERS, indirect=True)


@contextmanager
def seller(database: Database) -> Iterator[Database]:
    """The database for a user who may read and change rows, and nothing else; as docs/operations.md makes one."""
    name, schema = f"hotsku_{secrets.token_hex(4)}", make_url(database.url).database
    if database.kind == "postgresql":
        make = [f"CREATE ROLE {name} LOGIN PASSWORD 'p@:/?#'"]
        grant = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"]
        remove = [f"DROP ROLE {name}"]
    else:
        make = [f"CREATE USER {name} IDENTIFIED BY 'p@:/?#'"]
        grant = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.* TO {name}"]
        remove = [f"DROP USER {name}"]
    for statement in make:
        _run(database, statement)
    try:
        for statement in grant:
            _run(database, statement)
        url = make_url(database.url).set(username=name, password="p@:/?#")
        yield Database(database.kind, url.render_as_string(hide_password=False))
    finally:
        if database.kind == "postgresql":
            database.execute(f"DROP OWNED BY {name}")
        for statement in remove:
            _run(database, statement)


def _run(database: Database, statement: str) -> None:
    with database.connection() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.anyio
async def test_a_user_without_ddl_may_do_all_that_a_sale_needs(database: Database) -> None:
    with seller(database) as limited:
        ledger = limited.open_only()
        item = await open_item(ledger, spec(total=100, partitions=2), 20, 30)
        ref = PartitionRef(item.id, 0)
        await ledger.apply(message(ledger, item.id, [sale(1, "o", 2), given_back(2, 5), sale(3, "\x00")]))
        await ledger.mark_fast(ref, 1)
        await ledger.fence_partition(ref, 1, "lost its memory")
        again = {"durability": "fast", "quarantine_until_ms": NOW, "now_ms": NOW}
        assert await ledger.replace_incarnation(ref, 1, 3, **again)  # type: ignore[arg-type]
        assert await ledger.end_quarantines(NOW) == [ref]
        _run(limited, "UPDATE items SET state = 'closed'")
        assert (await ledger.archive_item(item.id, 10, NOW)).moved == 1
        assert (await ledger.figures(item.id)).partitions[0].deductions.count == 1
        await ledger.close()
        with pytest.raises(DBAPIError, match="denied"):
            _run(limited, "CREATE TABLE more (n INT)")


@pytest.mark.anyio
async def test_both_names_of_a_kind_open_it(database: Database) -> None:
    url = make_url(database.url)
    for name in ("postgresql", "postgres") if database.kind == "postgresql" else ("mysql", "mariadb"):
        ledger = Database(database.kind, url.set(drivername=name).render_as_string(hide_password=False)).open_only()
        item = await open_item(ledger, spec(name), 5)
        await ledger.apply(message(ledger, item.id, [sale(1)]))
        await books_hold(ledger, item.id)
        await ledger.close()


def test_a_server_that_is_too_old_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "OLDEST", (99,))
    monkeypatch.setattr(mysql, "OLDEST", {"MySQL": (99, 1), "MariaDB": (99, 1)})
    for call in (database.open_only, database.migrate):
        with pytest.raises(InvalidSettings, match=r"ledger_url: \w+ [0-9.]+ or newer is needed, this is [0-9.]+$"):
            call()


def test_a_file_of_certificates_that_is_not_there_is_told(database: Database, tmp_path: Path) -> None:
    option = "sslrootcert" if database.kind == "postgresql" else "ssl_ca"
    more = {"sslmode": "verify-full"} if database.kind == "postgresql" else {}
    url = make_url(database.url).set(query={option: str(tmp_path / "none.pem"), **more})
    with pytest.raises(InvalidSettings, match="ledger_url: ") as caught:
        Database(database.kind, url.render_as_string(hide_password=False)).open_only()
    assert "\n" not in str(caught.value)

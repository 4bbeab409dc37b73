"""The SQL roles of `deploy/sql` on real servers: who migrates may make tables, who sells may not, and both can work."""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from tests.support.databases import Database, admin, new_database, plain_engine
from tests.support.ledger import NOW, message, open_item, sales, spec

_SQL = Path(__file__).resolve().parents[2] / "deploy" / "sql"
_USERS = ("owner", "app", "read")
_DDL = (
    "CREATE TABLE mine (id int)",
    "ALTER TABLE items ADD COLUMN mine int",
    "DROP TABLE leases",
    "CREATE INDEX mine ON items (total)",
    "TRUNCATE TABLE parked",
    "CREATE VIEW mine AS SELECT 1",
)


class Roles:
    """A database with the roles, under names that no other test has: roles are the whole server's."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    def user(self, name: str) -> Database:
        """The database, as a role sees it."""
        url = make_url(self._database.url).set(username=f"{self._prefix}{name}", password="pass")
        return Database(self._database.kind, url.render_as_string(hide_password=False))

    def apply(self) -> None:
        """Run the file, as an administrator would."""
        kind = "postgresql" if self._database.kind == "postgresql" else "mysql"
        script = (_SQL / f"roles.{kind}.sql").read_text("utf-8").replace("hotsku_", self._prefix)
        statements = [script] if kind == "postgresql" else [part for part in _plain(script).split(";") if part.strip()]
        engine = plain_engine(make_url(self._database.url), self._database.kind)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))
        engine.dispose()

    def make(self) -> None:
        """Make the users where the file expects them, and give them a password."""
        if self._database.kind == "postgresql":
            self.apply()
        for name in _USERS:
            word = "ALTER ROLE {} PASSWORD" if self._database.kind == "postgresql" else "CREATE USER {} IDENTIFIED BY"
            admin(self._database.kind, f"{word.format(self._prefix + name)} 'pass'")
        self.apply()

    def drop(self) -> None:
        for name in _USERS:
            if self._database.kind == "postgresql":
                if admin(self._database.kind, f"SELECT 1 FROM pg_roles WHERE rolname = '{self._prefix}{name}'"):
                    self._database.execute(f"DROP OWNED BY {self._prefix}{name} CASCADE")
                admin(self._database.kind, f"DROP ROLE IF EXISTS {self._prefix}{name}")
            else:
                admin(self._database.kind, f"DROP USER IF EXISTS {self._prefix}{name}")


@pytest.fixture(params=["postgresql", "mariadb"])
def roles(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Roles]:
    with new_database(request.param, tmp_path) as database:
        made = Roles(database, f"hs{secrets.token_hex(4)}_")
        try:
            made.make()
            yield made
        finally:
            made.drop()


def test_owner_migrates_app_sells_and_reader_counts(roles: Roles) -> None:
    roles.user("owner").migrate(post=True)
    asyncio.run(_sell(roles.user("app")))
    reader = roles.user("read")
    assert reader.execute("SELECT sum(quantity) FROM archived_deductions") == (3,)
    assert reader.execute("SELECT count(*) FROM events") == (3,)
    for statement in ("UPDATE items SET total = 1", "DELETE FROM deductions", *_DDL):
        _refuses(reader, statement)
    # What was migrated before the roles came is theirs as well.
    roles.apply()
    asyncio.run(_sell(roles.user("app"), "again"))


def test_app_makes_and_takes_no_table(roles: Roles) -> None:
    owner, app = roles.user("owner"), roles.user("app")
    owner.migrate()
    before = owner.tables()
    for statement in _DDL:
        _refuses(app, statement)
    assert owner.tables() == before


async def _sell(database: Database, sku: str = "sneaker") -> None:
    ledger = database.open_only()
    try:
        item = await open_item(ledger, spec(sku, total=10), 5)
        await ledger.apply(message(ledger, item.id, sales(1, 3)))
        standing = await ledger.standing(item.id)
        assert (standing.sold, standing.pool, standing.preallocated) == (3, 5, 2)
        database.execute("UPDATE items SET state = 'closed' WHERE id = :id", id=item.id)
        while not (await ledger.archive_item(item.id, 2, NOW)).done:
            pass
    finally:
        await ledger.close()


def _refuses(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)denied|permission|must be owner") as caught:
        database.execute(statement)
    assert caught.value.statement == statement


def _plain(script: str) -> str:
    """The script without its comments."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("--"))

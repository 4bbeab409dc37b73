"""Migrations: before a deploy and after it, cut off anywhere, beside the last release, by anyone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event
from tests.support.databases import SERVERS, Database, new_database
from tests.support.ledger import StillClock, open_at
from tests.support.schemas import Schema, schema_of

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.ledger import migrate, open_ledger

LAST_RELEASE = "0002"
RELEASES = Path(__file__).parent / "releases"


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", "hotsku.ledger:migrations")
    return made


def upgrade(database: Database, version: str) -> None:
    """What an earlier version's `hotsku migrate` did."""
    with database.connection() as connection:
        made = config()
        made.attributes["connection"] = connection
        command.upgrade(made, version)


def schema(database: Database) -> Schema:
    with database.connection() as connection:
        return schema_of(connection)


def test_the_migrations_are_one_line_and_the_code_knows_its_ends() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert scripts.get_heads() == [migrate.HEAD]
    walked = list(scripts.walk_revisions())
    assert [each.revision for each in walked] == sorted((each.revision for each in walked), reverse=True)
    assert {each.module.PHASE for each in walked} <= {"pre", "post"}
    assert max(each.revision for each in walked if each.module.PHASE == "pre") == migrate.NEEDED


@pytest.fixture(params=SERVERS)
def server_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database on each kind of server, without any tables."""
    with new_database(request.param, tmp_path) as database:
        yield database


def test_a_server_must_be_migrated_first_and_says_so(server_database: Database) -> None:
    for _ in range(2):
        with pytest.raises(InvalidSettings, match=r"has no schema of this version; run hotsku migrate$"):
            server_database.open_only()
        assert server_database.tables() == set()
    upgrade(server_database, LAST_RELEASE)
    with pytest.raises(InvalidSettings, match="run hotsku migrate"):
        server_database.open_only()
    server_database.migrate()
    server_database.open_only().close_now()


def test_migrating_again_changes_nothing(empty_database: Database) -> None:
    first, made = empty_database.migrate(), schema(empty_database)
    assert empty_database.migrate(post=True) == first
    assert schema(empty_database) == made


@contextmanager
def dying_at(number: int) -> Iterator[list[str]]:
    """Meanwhile, the change of the schema with this number is the last one that is made."""
    made: list[str] = []

    def look(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().startswith(("CREATE", "ALTER", "DROP", "UPDATE alembic", "INSERT INTO ledger")):
            if len(made) == number:
                raise RuntimeError("the end")
            made.append(statement)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield made
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_a_migration_may_die_anywhere_and_is_made_again(
    empty_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    with new_database(empty_database.kind, folder) as other:
        other.migrate()
        whole = schema(other)
    ended, number = False, 0
    while not ended:
        with dying_at(number) as made:
            try:
                empty_database.migrate()
                ended = True
            except RuntimeError:
                number += 1
        assert number < 60, made
    assert schema(empty_database) == whole
    empty_database.open().close_now()


def test_the_new_schema_only_adds_to_that_of_the_last_release(empty_database: Database) -> None:
    """So that the last release runs on it."""
    upgrade(empty_database, LAST_RELEASE)
    before = schema(empty_database)
    upgrade(empty_database, migrate.NEEDED)
    after = schema(empty_database)
    for table in before.keys() - {"events"}:
        kept = before[table]["columns"].items()
        assert kept <= after[table]["columns"].items()
        for name, (_, nullable, default, _) in dict(after[table]["columns"].items() - kept).items():
            assert nullable or default != "None", f"{table}.{name}: the last release inserts rows without it"
        for kind in ("primary key", "unique", "foreign"):
            assert before[table][kind] == after[table][kind]
        # What the last release writes keeps to its own checks; the new ones must let it pass.
        new = after[table]["checks"].keys() - before[table]["checks"].keys()
        assert new <= {"ck_items_given_back"}


def test_what_the_last_release_sends_works_on_the_new_schema(tmp_path: Path) -> None:
    """Recorded from commit 1df32d3: its ledger with an item in it, and every kind of statement that it sends."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((RELEASES / "0002-made.sql").read_text())
    open_at(tmp_path).close_now()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for statement in (RELEASES / "0002-sent.sql").read_text().splitlines():
            connection.execute(statement).fetchall()
        counted = connection.execute("SELECT item_id, count(*), sum(quantity) FROM events GROUP BY item_id").fetchall()
    assert counted == [(1, 6, 12), (2, 8, 34)]


@pytest.mark.anyio
@pytest.mark.parametrize("release", ["0001", LAST_RELEASE])
async def test_a_ledger_of_an_earlier_release_is_migrated_with_all_that_is_in_it(tmp_path: Path, release: str) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript((RELEASES / f"{release}-made.sql").read_text())
    ledger = open_at(tmp_path)
    assert ledger.ledger_id == "00112233aa"
    item = await ledger.item("before")
    assert item is not None
    rows = await ledger.partitions(item.id)
    assert [(row.state, row.granted, row.watermark, row.final_seq) for row in rows] == [
        ("open", 60, 4, None),
        ("fenced", 25, 3, None),
    ]
    figures = await ledger.figures(item.id)
    assert (figures.strays, figures.doubled, figures.partitions[0].deductions.count) == (0, 0, 3)
    assert (item.state, item.version) == ("open", 1)
    (row,) = await ledger.details(item.id, None, 1)
    assert (row.born, row.state, row.attempt, row.expires_at_ms, row.metadata) == ("deducted", "confirmed", 1, 0, "")
    assert await ledger.replace_incarnation(rows[1].ref, 1, 3, durability="durable", quarantine_until_ms=None, now_ms=1)
    await ledger.close()


_FORM = """
from alembic import op

PHASE = "{}"
revision = "{}"
down_revision = "{}"


def upgrade():
    op.execute("{}")
"""


class _Later:
    """A later release: one migration before its deploy, and one after it that takes away what it no longer needs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._folder = folder
        form = (
            'from alembic import op\nPHASE = "{}"\nrevision = "{}"\ndown_revision = "{}"\n\n\ndef upgrade():\n    {}\n'
        )
        add = 'op.execute("ALTER TABLE items ADD COLUMN remark VARCHAR(9)")'
        take = 'op.execute("ALTER TABLE items DROP COLUMN routing")'
        (folder / "8001.py").write_text(form.format("pre", "8001", migrate.HEAD, add))
        (folder / "8002.py").write_text(form.format("post", "8002", "8001", take))

    def install(self) -> None:
        def later() -> Config:
            made = config()
            made.set_main_option("path_separator", "newline")
            made.set_main_option("version_locations", f"hotsku.ledger:migrations/versions\n{self._folder}")
            return made

        self._patch.setattr(migrate, "_config", later)
        self._patch.setattr(migrate, "NEEDED", "8001")
        self._patch.setattr(migrate, "HEAD", "8002")

    def uninstall(self) -> None:
        self._patch.undo()


def test_the_release_before_runs_until_the_migrations_after_the_deploy(
    server_database: Database, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_id = server_database.migrate()
    later = _Later(tmp_path_factory.mktemp("later"), monkeypatch)
    later.install()
    with pytest.raises(InvalidSettings, match="run hotsku migrate"):
        server_database.open_only()
    assert server_database.migrate() == ledger_id
    assert {"remark", "routing"} <= schema(server_database)["items"]["columns"].keys()
    server_database.open_only().close_now()
    later.uninstall()
    server_database.open_only().close_now()
    assert server_database.migrate() == ledger_id  # by the release before, on what it does not know
    later.install()
    assert server_database.migrate(post=True) == ledger_id
    assert "routing" not in schema(server_database)["items"]["columns"]
    server_database.open_only().close_now()
    later.uninstall()
    with pytest.raises(BackendUnavailable, match=r"needs 8002; this version has .*: upgrade hotsku"):
        server_database.open_only()


def test_a_file_that_a_newer_version_has_contracted_is_refused(tmp_path: Path) -> None:
    open_at(tmp_path).close_now()
    Database("sqlite", f"sqlite:///{tmp_path}/ledger.db").execute("UPDATE ledger SET contracted = '9999'")
    with pytest.raises(BackendUnavailable, match="upgrade hotsku"):
        open_at(tmp_path)


def test_the_first_opening_of_a_file_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    def cut(_: int) -> str:
        raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        open_ledger(f"sqlite:///{tmp_path}/ledger.db", clock=StillClock(), token_hex=cut)
    assert Database("sqlite", f"sqlite:///{tmp_path}/ledger.db").tables() == set()
    open_at(tmp_path).close_now()

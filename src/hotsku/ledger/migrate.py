"""Brings a ledger's schema up to date, and mints the ledger's id. See docs/adr/0015."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, inspect, select, text, update

from hotsku.errors import BackendUnavailable
from hotsku.ledger.tables import ledger

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration that this code needs before it runs (of the phase "pre"), and the newest of all. Tests compare
# them with the files.
NEEDED = "0003"
HEAD = "0003"

_NOTHING = "0000"
_ID_BYTES = 5


def ledger_id(connection: Connection) -> str | None:
    """The id of a ledger whose schema this code can run on; None where it must be migrated first.

    Raises:
        BackendUnavailable: a newer HotSKU has taken away what this one needs.
    """
    version = _version(connection)
    if version is None or version < NEEDED:
        return None
    row = connection.execute(select(ledger.c.ledger_id, ledger.c.contracted)).one_or_none()
    if row is not None and row.contracted > HEAD:
        raise BackendUnavailable(
            f"the ledger has schema {version}, which needs {row.contracted}; this version has {HEAD}: "
            "upgrade hotsku to use it"
        )
    return None if row is None else str(row.ledger_id)


def migrate(connection: Connection, now_ms: int, token_hex: Callable[[int], str], *, post: bool) -> str:
    """Migrate over `connection`, which must keep others from doing so meanwhile. Returns the ledger's id.

    Args:
        post: also the migrations that take away what only older code needs; otherwise only those before the newest one
            that this code needs.
    """
    target = HEAD if post else NEEDED
    if (_version(connection) or "") < target:
        contracted = _upgrade(connection, target)
        connection.execute(update(ledger).values(contracted=contracted))
    else:
        contracted = _NOTHING
    return ledger_id(connection) or _mint(connection, contracted, now_ms, token_hex)


def _mint(connection: Connection, contracted: str, now_ms: int, token_hex: Callable[[int], str]) -> str:
    minted = token_hex(_ID_BYTES)
    connection.execute(insert(ledger).values(id=1, ledger_id=minted, created_at=now_ms, contracted=contracted))
    return minted


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def _upgrade(connection: Connection, target: str) -> str:
    """Migrate up to `target`. Returns the newest migration on the way that took something away."""
    # Imported only where it is needed: every command opens the ledger, almost none migrates it.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)
    done = ScriptDirectory.from_config(config).walk_revisions("base", target)
    return max((each.revision for each in done if each.module.PHASE == "post"), default=_NOTHING)


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hotsku.ledger:migrations")
    return config

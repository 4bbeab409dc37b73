"""Brings a ledger's schema up to date, and mints the ledger's id."""

from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select, text

from hotsku.errors import BackendUnavailable
from hotsku.ledger.tables import ledger

# The newest migration. A test compares it with the files.
HEAD = "0001"

_ID_BYTES = 5


def ledger_id(connection: Connection) -> str | None:
    """The id of a ledger whose schema is up to date, else None.

    Raises:
        BackendUnavailable: a newer HotSKU has migrated this ledger.
    """
    version = _version(connection)
    if version is not None and version > HEAD:
        raise BackendUnavailable(f"the ledger has schema {version}, newer than {HEAD}; upgrade hotsku to use it")
    return connection.scalar(select(ledger.c.ledger_id)) if version == HEAD else None


def migrate(connection: Connection, now_ms: int, token_hex: Callable[[int], str]) -> str:
    """Migrate within `connection`'s transaction, which must keep others from doing so. Returns the ledger's id."""
    known = ledger_id(connection)
    if known is not None:
        return known
    _upgrade(connection)
    return ledger_id(connection) or _mint(connection, now_ms, token_hex)


def _mint(connection: Connection, now_ms: int, token_hex: Callable[[int], str]) -> str:
    minted = token_hex(_ID_BYTES)
    connection.execute(insert(ledger).values(id=1, ledger_id=minted, created_at=now_ms))
    return minted


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _upgrade(connection: Connection) -> None:
    # Imported only where it is needed: every command opens the ledger, almost none migrates it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "hotsku.ledger:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

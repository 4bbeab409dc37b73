"""Which database a ledger's URL names."""

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from hotsku.errors import InvalidSettings
from hotsku.ledger.dialect import Dialect
from hotsku.ledger_url import MYSQL_OPTIONS, check_ledger_url
from hotsku.settings_values import ALLOWED

_FLAGS = ("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")


def dialect_of(url: str) -> Dialect:
    """The dialect for a ledger's URL. Drivers are imported only for the databases that are used.

    Raises:
        InvalidSettings: it is no URL of a ledger.
    """
    try:
        parsed = make_url(check_ledger_url(url))
    except (ArgumentError, ValueError):
        raise InvalidSettings(f"ledger_url must be {ALLOWED['ledger_url']}") from None
    if parsed.drivername == "sqlite":
        from hotsku.ledger.sqlite import SqliteDialect

        return SqliteDialect(parsed)
    if parsed.drivername in ("postgresql", "postgres"):
        from hotsku.ledger.postgresql import PostgresqlDialect

        return PostgresqlDialect(parsed)
    from hotsku.ledger.mysql import MysqlDialect

    return MysqlDialect(parsed.set(query={}), _mysql_options(parsed))


def _mysql_options(url: URL) -> dict[str, str | bool]:
    """The query of a MySQL URL as the driver's arguments."""
    options: dict[str, str | bool] = {name: str(url.query[name]) for name in MYSQL_OPTIONS if name in url.query}
    for name in _FLAGS:
        if name in options:
            options[name] = options[name] in ("1", "true", "yes")
    if "ssl_ca" in options:
        options.setdefault("ssl_verify_cert", True)  # who names an authority wants it asked
    return options

"""The URL of a ledger: which databases there are, and what may stand in the query."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

SQLITE = "sqlite:///"

# Where the server listens, and TLS, by the names that libpq and PyMySQL have for them.
POSTGRESQL_OPTIONS = (
    "host",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "channel_binding",
    "target_session_attrs",
)
MYSQL_OPTIONS = (
    "unix_socket",
    "ssl_disabled",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "ssl_key_password",
    "ssl_verify_cert",
    "ssl_verify_identity",
)

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "postgresql": POSTGRESQL_OPTIONS,
    "postgres": POSTGRESQL_OPTIONS,
    "mysql": MYSQL_OPTIONS,
    "mariadb": MYSQL_OPTIONS,
}


def check_ledger_url(url: str) -> str:
    """`url`, if it is one of a ledger; a ValueError otherwise."""
    if url.startswith(SQLITE):
        path = url.removeprefix(SQLITE)
        # A database in memory has one process, a ledger has many.
        good = path and path != ":memory:" and not path.startswith("file:") and not set("?#%") & set(path)
    else:
        good = _is_server(url)
    if not good or not url.isprintable():
        raise ValueError
    return url


def _is_server(url: str) -> bool:
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    names = [name for name, _ in options]
    known = _OPTIONS.get(parts.scheme)
    if known is None:
        return False
    port_is_good = parts.port is None or parts.port > 0  # a port that is no port is urlsplit's ValueError
    return (
        bool(parts.hostname or {"host", "unix_socket"} & set(names))
        and port_is_good
        and bool(parts.path.strip("/"))
        and "/" not in parts.path[1:]
        and not parts.fragment
        and all(name in known and value for name, value in options)
        and len(set(names)) == len(names)
    )

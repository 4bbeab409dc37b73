"""What a `shard_url` says: which kind of servers, where they are, who logs in, and how TLS is done."""

from typing import Literal, cast

from msgspec import Struct

from hotsku.server_url import TLS_FILES, parse_server_url

ShardKind = Literal["embedded", "server", "sentinel", "cluster"]

_PORTS = {
    f"{protocol}{tls}{kind}": 26379 if kind == "+sentinel" else 6379
    for protocol in ("redis", "valkey")
    for tls in ("", "s")
    for kind in ("", "+sentinel", "+cluster")
}
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


class ShardUrl(Struct, frozen=True, kw_only=True):
    """A shard URL in its parts.

    Attributes:
        path: of an embedded folder, or of a unix socket.
        hosts: (host, port) of the server, of some nodes of the cluster, or of the sentinels.
        master: the name that the sentinels know the master by.
        options: TLS files as redis-py names them (`ssl_ca_certs`, ...), and who logs in at the sentinels.
    """

    kind: ShardKind
    path: str = ""
    hosts: tuple[tuple[str, int], ...] = ()
    master: str = ""
    username: str | None = None
    password: str | None = None
    tls: bool = False
    options: dict[str, str] = {}


def parse_shard_url(url: str) -> ShardUrl:
    """The parts of `embedded:PATH`, `unix:///PATH`, or `redis://` and its relatives.

    `redis` and `valkey` mean the same; with an s at the end it is TLS, and `+sentinel` and `+cluster` take several
    hosts. Options follow a question mark, under the names that redis-py has for them.

    Raises:
        ValueError: it is none of these.
    """
    if not url.isprintable():
        raise ValueError
    if url.startswith("embedded:"):
        return ShardUrl(kind="embedded", path=_plain_path(url.removeprefix("embedded:")))
    if url.startswith("unix:///"):
        return ShardUrl(kind="server", path="/" + _plain_path(url.removeprefix("unix:///")))
    parts = parse_server_url(url, _PORTS)
    protocol, _, kind = parts.scheme.partition("+")
    parsed = ShardUrl(
        kind=cast(ShardKind, kind or "server"),
        hosts=parts.servers,
        master=parts.path or "",
        username=parts.username,
        password=parts.password or None,
        tls=protocol in ("rediss", "valkeys"),
        options=parts.options,
    )
    tls_options = (*TLS_FILES, "ssl_check_hostname") if parsed.tls else ()
    parts.check_options((*tls_options, *(_SENTINEL_OPTIONS if kind == "sentinel" else ())))
    _check(parsed)
    return parsed


def _check(url: ShardUrl) -> None:
    good = (
        (len(url.hosts) == 1 or url.kind != "server")
        # A sentinel's master has a name; elsewhere a path would be a database, and there is none but 0.
        and (bool(url.master) if url.kind == "sentinel" else url.master in ("", "0"))
        and url.options.get("ssl_check_hostname", "true") in ("true", "false")
        and (url.username is None or url.password is not None)
    )
    if not good:
        raise ValueError


def _plain_path(path: str) -> str:
    """`path`, if it is one and no part of it would be read as something else."""
    if not path.strip("/") or set("?#%") & set(path):
        raise ValueError
    return path

"""URLs of servers: `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?option=value`, the last parts as needed."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

_FORM = re.compile(r"([a-z+]+)://(?:([^@/?#]*)@)?([^/?#@]+)(?:/([^/?#]*))?(?:\?([^#]*))?")
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")

# TLS files as redis-py names them.
TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class ServerUrl(Struct, frozen=True):
    """A URL in its parts; `path` is None where there is not even a slash, `password` where there is no colon."""

    scheme: str
    servers: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    path: str | None
    options: dict[str, str]

    def check_options(self, allowed: Collection[str]) -> None:
        """A ValueError if there are others, or a certificate without its key."""
        certificate, key = "ssl_certfile" in self.options, "ssl_keyfile" in self.options
        if not set(self.options) <= set(allowed) or certificate != key:
            raise ValueError


def parse_server_url(url: str, ports: Mapping[str, int]) -> ServerUrl:
    """The parts of a URL.

    Args:
        ports: the schemes that are known, with their default ports.

    Raises:
        ValueError: it is no such URL.
    """
    found = _FORM.fullmatch(url)
    if found is None or not url.isprintable() or found[1] not in ports:
        raise ValueError
    scheme, login, servers, path, query = found.groups()
    username, has_password, password = (login or "").partition(":")
    return ServerUrl(
        scheme=scheme,
        servers=tuple(_server(each, ports[scheme]) for each in servers.split(",")),
        username=unquote(username) or None,
        password=unquote(password) if has_password else None,
        path=None if path is None else unquote(path),
        options=dict(parse_qsl(query, strict_parsing=True)) if query else {},
    )


def _server(text: str, default_port: int) -> tuple[str, int]:
    found = _SERVER.fullmatch(text)
    if found is None or not 1 <= int(found[2] or default_port) <= 65535:
        raise ValueError
    return found[1].strip("[]"), int(found[2] or default_port)

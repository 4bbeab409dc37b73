"""The address that a gateway listens on, and its sockets: one for each server process, on the same port."""

import ipaddress
import socket

from hotsku.errors import InvalidSettings

_BACKLOG = 4_096


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host.

    Raises:
        InvalidSettings: there is no such host.
    """
    return all(ipaddress.ip_address(address).is_loopback for _, address in _addresses(host))


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that listen; the kernel spreads connections over them.

    Args:
        port: 0: any that is free.

    Raises:
        InvalidSettings: the host has no such address here, or the port is taken.
    """
    family, address = _addresses(host)[0]
    try:
        first = _bound(family, address, port, shared=False)
        if count == 1:
            return _listening([first])
        # Shared ports let a second gateway in: so this one is taken alone first, to see that nobody has it.
        port = first.getsockname()[1]
        first.close()
        return _listening([_bound(family, address, port, shared=True) for _ in range(count)])
    except OSError as error:
        raise InvalidSettings(f"host and port must be free here: {host}:{port}: {error.strerror}") from None


def _listening(sockets: list[socket.socket]) -> list[socket.socket]:
    for each in sockets:
        each.listen(_BACKLOG)
        each.setblocking(False)
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """The host's addresses, IPv4 first."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InvalidSettings(f"host must be a name or an address of this machine, not {ascii(host)[:80]}") from None
    ordered = sorted(found, key=lambda each: each[0] != socket.AF_INET)
    return [(family, str(address[0]).partition("%")[0]) for family, _, _, _, address in ordered]

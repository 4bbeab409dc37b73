"""Sends commands to the server that has their slot, and follows the slots when they move.

A redirection (MOVED, ASK) says that the command did nothing, so it is sent on at once. So do the refusals of a server
that cannot serve now. Nothing else is ever sent twice.
"""

from collections.abc import Callable

from msgspec.structs import replace

from hotsku.errors import BackendUnavailable
from hotsku.ports import Lost
from hotsku.shard.address import Address
from hotsku.shard.topology import Topology
from hotsku.shard.wire import Argument, Copies, Reply, ReplyError, Wire

# https://valkey.io/topics/cluster-spec/ : a node redirects once where nothing moves, and a few times while slots do.
_MOST_REDIRECTIONS = 5

# The server did nothing, and cannot serve now: it loads, it is a replica, its cluster is down, a slot's keys are being
# moved, it lacks replicas, or it runs a script.
_NOT_NOW = (
    "LOADING",
    "MASTERDOWN",
    "READONLY",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "BUSY ",
)
_NO_LIBRARY = "ERR Function not found"
_OLD_TOPOLOGY = ("READONLY", "CLUSTERDOWN", "MASTERDOWN")


class Router:
    """One connection to each server, opened when it is first needed."""

    def __init__(
        self,
        topology: Topology,
        timeout_s: float,
        copies_of: Callable[[Address], Copies | None] = lambda _: None,
    ) -> None:
        """
        Args:
            topology: shared; the caller closes it.
            timeout_s: how long a call waits for its reply.
            copies_of: what a call to a server waits for, if it is to wait for copies.
        """
        self.topology = topology
        self._timeout_s = timeout_s
        self._copies_of = copies_of
        self._wires: dict[Address, Wire] = {}

    def name_of(self, slot: int) -> str:
        """The server that has the slot, for people; empty where none is known."""
        address = self.topology.owner(slot)
        return "" if address is None else address.name

    def waits_for_copies(self, slot: int) -> bool:
        """Whether a `copied` call to the slot's server waits for any."""
        address = self.topology.owner(slot)
        return address is not None and self._copies_of(address) is not None

    def close(self) -> None:
        """Close every connection; calls in flight are lost."""
        for wire in self._wires.values():
            wire.close()

    async def send(self, slot: int, *arguments: Argument) -> Reply:
        """Send one command, whose keys are all in `slot`, and wait for its reply.

        Raises:
            Lost: no reply came, or the server cannot serve now.
            BackendUnavailable: the server refused the command.
        """
        return (await self._follow(slot, arguments, copied=False))[0]

    async def send_copied(self, slot: int, *arguments: Argument) -> tuple[Reply, bool]:
        """`send`, and wait until the copies that live have it, too.

        Returns:
            The reply; and whether these are all that may ever take over from the server.
        """
        return await self._follow(slot, arguments, copied=True)

    async def _follow(self, slot: int, arguments: tuple[Argument, ...], *, copied: bool) -> tuple[Reply, bool]:
        address, asking = self.topology.owner(slot), False
        for _ in range(_MOST_REDIRECTIONS):
            if address is None:
                self.topology.doubt()
                raise Lost("no server has the slot", sent=False)
            if copied and address not in self.topology.masters():
                self.topology.doubt()  # a redirection led there: nobody knows yet which replicas it has
                raise Lost(f"{address.name} is not known yet", sent=False)
            try:
                copies = self._copies_of(address) if copied else None
                every = (copies.replicas if copies else 0) >= self.topology.copies(address)
                return await self._wire(address).call(*arguments, asking=asking, copies=copies), every
            except Lost:
                self.topology.doubt()
                raise
            except ReplyError as error:
                address, asking = self._redirection(slot, address, arguments[0], str(error))
        raise Lost("the slot moves about", sent=False)

    def _redirection(self, slot: int, address: Address, command: Argument, text: str) -> tuple[Address, bool]:
        """Where to go on, and whether to ask there; what is no redirection is raised."""
        if text.startswith(("MOVED ", "ASK ")):
            kind, _, where = text.split(" ", 2)
            host, _, port = where.rpartition(":")
            other = replace(address, host=host.strip("[]") or address.host, port=int(port))
            if kind == "MOVED":
                self.topology.moved(slot, other)
            return other, kind == "ASK"
        if text.startswith(_OLD_TOPOLOGY):
            self.topology.doubt()
        if text.startswith(_NO_LIBRARY):
            self.topology.bare.add(address)
        if text.startswith((*_NOT_NOW, _NO_LIBRARY)):
            raise Lost(f"{address.name}: {text}", sent=False)
        raise BackendUnavailable(f"the shard refused {command!s}: {text}")

    def _wire(self, address: Address) -> Wire:
        wire = self._wires.get(address)
        if wire is None:
            wire = self._wires[address] = Wire(address.open, address.greeting(), self._timeout_s)
        return wire

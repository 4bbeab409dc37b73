"""Which server has which slot now. A standalone server and a sentinel's master have them all, a cluster's have shares.

What is known may be out of date at any moment: a server that is asked for what it does not have says so and changes
nothing. So nobody waits for the newest topology; whoever meets an old one calls `doubt`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.errors import BackendUnavailable
from hotsku.log import get_logger
from hotsku.shard.address import Address

_log = get_logger("topology")


class Topology(ABC):
    """Where the slots are. `bare` are servers that were found to have no function library."""

    def __init__(self) -> None:
        self.bare: set[Address] = set()
        self._looking: asyncio.Task[None] | None = None

    @abstractmethod
    def owner(self, slot: int) -> Address | None:
        """The server that has the slot, as far as known; None before the first `refresh`, and where nobody has it."""

    @abstractmethod
    def masters(self) -> list[Address]:
        """Every server that has slots, in the order of their slots."""

    @abstractmethod
    def replicas(self, master: Address) -> list[Address]:
        """The replicas that a server has, as far as known."""

    def copies(self, master: Address) -> int:
        """How many servers may take over from a server: its replicas, and those that seem dead and may come back."""
        return len(self.replicas(master))

    @abstractmethod
    async def refresh(self) -> None:
        """Look anew.

        Raises:
            BackendUnavailable: nobody who knows can be reached.
        """

    def moved(self, slot: int, address: Address) -> None:  # noqa: B027  # only a cluster's slots move one by one
        """A server said that another has the slot now."""

    def group(self, slot: int) -> int:
        """Slots of one group may be named in one command."""
        return 0

    def doubt(self) -> None:
        """What is known seems out of date: look anew, soon and in the background."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="topology")

    async def close(self) -> None:
        """End what runs in the background."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        backoff = Backoff()
        while True:
            end_if_cancelled()
            try:
                await self.refresh()
            except BackendUnavailable as error:
                _log.debug("the topology is not known yet", why=str(error))
            else:
                return
            await backoff.pause()


class OneServer(Topology):
    """A server at an address that is known; an embedded one's socket may move when it restarts."""

    def __init__(self, address_of: Callable[[], Address]) -> None:
        super().__init__()
        self._address_of = address_of
        self._address = address_of()
        self._replicas: list[Address] = []

    def owner(self, slot: int) -> Address | None:
        return self._address

    def masters(self) -> list[Address]:
        return [self._address]

    def replicas(self, master: Address) -> list[Address]:
        return self._replicas

    def has(self, replicas: list[Address]) -> None:
        """The server was asked, and has these replicas."""
        self._replicas = replicas

    async def refresh(self) -> None:
        self._address = self._address_of()

    def doubt(self) -> None:
        self._address = self._address_of()

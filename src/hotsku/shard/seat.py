"""The worker's side of an embedded folder: one worker at a time, and the last to leave stops the server."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hotsku.errors import BackendUnavailable
from hotsku.shard.children import leave_alone, start_detached
from hotsku.shard.folder_home import FolderHome, open_home
from hotsku.shard.folder_locks import FolderLocks
from hotsku.shard.folder_server import OnServerStarted
from hotsku.shard.guard import guard
from hotsku.shard.launcher import DurabilityMode

_POLL_S = 0.2
LINGER_S = 2.0


def spawn_worker(command: Sequence[str], environment: Mapping[str, str], home: FolderHome) -> bool:
    """Start a worker process where the folder has none. It inherits the seat, so nobody can start a second one.

    Args:
        environment: variables added to ours; unlike a command line it is not for everybody to read.

    Returns:
        whether one was started.

    Raises:
        OSError: it cannot be started.
    """
    with home.locks.for_worker(home.path) as legacy:
        if legacy is None:
            return False
        log = home.path / "worker.log"
        leave_alone(start_detached(command, log, inherit=legacy.fds, environment={**legacy.environment, **environment}))
    return True


class WorkerSeat:
    """The seat of a folder's one worker. While it is taken, the server is guarded.

        async with WorkerSeat(path, durability="durable") as seat:
            ...                      # work, until
            await seat.alone()       # nobody uses the folder any more, and nobody can come in
            ...                      # flush
            await seat.stop_server()

    Leaving without `stop_server` (an error, a signal) stops the server too, where nobody else is there.

    Args:
        path: the folder.
        durability, on_server_started: see `EmbeddedFolder`.
        wait_s: seconds to wait for another worker to leave.
        linger_s: seconds without a user before the worker believes that nobody comes back.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: DurabilityMode = "durable",
        on_server_started: OnServerStarted | None = None,
        wait_s: float = 1.0,
        linger_s: float = LINGER_S,
    ) -> None:
        self._path = path
        self._durability: DurabilityMode = durability
        self._on_server_started = on_server_started
        self._wait_s = wait_s
        self._linger_s = linger_s

    @property
    def socket(self) -> Path:
        """Where the server listens. It may move when the server restarts: read it again after `ensure`."""
        return self._home.server.socket

    async def __aenter__(self) -> Self:
        """Take the seat, and see that the server runs.

        Raises:
            InvalidSettings: the folder cannot be used, or runs in the other durability mode.
            BackendUnavailable: another worker is at work, or the server cannot be started.
        """
        self._guard: asyncio.Task[None] | None = None
        self._stopped = False
        self._home = await self._sit_down()
        try:
            if self._home.server.replaced():
                await self.alone()
            await self.ensure()
        except BaseException:
            await self._leave()
            raise
        self._guard = asyncio.create_task(guard(self._well, self.ensure))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def ensure(self) -> None:
        """See that the server runs and is ready; for whoever lost its connection.

        Raises:
            BackendUnavailable: it cannot be started.
        """
        async with self._home.starting():
            await self._home.ensure_server()

    async def alone(self) -> None:
        """Wait until nobody has used the folder for the linger; then nobody can come in until the seat is left."""
        users, quiet_s = self._home.locks.users, 0.0
        touched_ns = users.touched_ns
        while not users.try_take() or quiet_s < self._linger_s:
            # Held only for an instant until the linger is over: a user who arrives meanwhile comes in. One who comes
            # and goes between two looks has touched the lock.
            quiet_s = quiet_s + _POLL_S if users.held and users.touched_ns == touched_ns else 0.0
            touched_ns = users.touched_ns
            users.release()
            await asyncio.sleep(_POLL_S)

    async def stop_server(self) -> None:
        """End the server, after `alone`; users who arrive meanwhile wait until the seat is left, and start afresh.

        Raises:
            BackendUnavailable: it does not end.
        """
        await self._stop_guard()
        self._stopped = True
        await self._home.stop_server()

    async def _sit_down(self) -> FolderHome:
        path = self._path.resolve()
        locks = FolderLocks.inherited(path)
        if locks is not None:
            # Without a look at the folder: it may have been deleted, and must not be made anew here.
            return FolderHome(path, locks, self._durability, self._on_server_started)
        home = open_home(self._path, self._durability, self._on_server_started)
        if not await self._take(home):
            home.close()
            raise BackendUnavailable(f"another worker is at work in {home.path}")
        return home

    async def _take(self, home: FolderHome) -> bool:
        try:
            return await home.locks.worker.take(timeout_s=self._wait_s)
        except BaseException:
            home.close()
            raise

    def _well(self) -> bool:
        # In a deleted folder there is nothing to heal: its users go, and then so does the worker.
        return not self._home.server.dead() or self._home.server.replaced()

    async def _stop_guard(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
            self._guard = None

    async def _leave(self) -> None:
        try:
            await self._stop_guard()
            if not self._stopped and self._home.locks.users.try_take():
                await self._home.stop_server()
        finally:
            self._home.close()

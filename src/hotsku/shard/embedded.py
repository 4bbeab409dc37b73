"""The embedded folder: a Valkey server and a worker process that its users share, start, heal, and leave behind.

A user holds a shared lock as long as it uses the folder. The worker (see `seat`) waits for the exclusive one: getting
it means that nobody is left, also after kill -9, and then it stops the server and ends.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hotsku.errors import BackendUnavailable
from hotsku.shard.folder_home import open_home
from hotsku.shard.folder_server import OnServerStarted, OtherDurability
from hotsku.shard.guard import guard
from hotsku.shard.launcher import DurabilityMode, find_binary
from hotsku.shard.seat import spawn_worker

_STOPPING_TIMEOUT_S = 120.0
_POLL_S = 0.05


class EmbeddedFolder:
    """A user of an embedded folder.

        async with EmbeddedFolder(Path(".hotsku"), worker=[sys.executable, "-m", "a_worker"]) as folder:
            ...                      # connect to folder.socket

    While it is open, a server or a worker that died is back within about a second.

    Args:
        path: the folder; made where it is absent.
        durability: how to start the server: "durable" syncs before every answer, "fast" every second.
        worker: the command of the worker process, which takes the folder's `WorkerSeat`. Without one the last user to
            leave stops the server itself (after a kill -9 the next one does).
        worker_environment: variables that it gets besides ours.
        on_server_started: awaited with the socket after every start of the server, before anybody else may use it.
            It may run again after a failure, so it must be idempotent.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: DurabilityMode = "durable",
        worker: Sequence[str] | None = None,
        worker_environment: Mapping[str, str] | None = None,
        on_server_started: OnServerStarted | None = None,
    ) -> None:
        self._path = path
        self._durability: DurabilityMode = durability
        self._worker = worker
        self._worker_environment = worker_environment or {}
        self._on_server_started = on_server_started

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return self._home.path

    @property
    def socket(self) -> Path:
        """Where the server listens. It may move when the server restarts: read it again after `ensure`."""
        return self._home.server.socket

    async def __aenter__(self) -> Self:
        """Use the folder: wait for one who is just stopping it, and see that server and worker run.

        Raises:
            InvalidSettings: the folder cannot be used, there is no server binary, or others use the folder in the other
                durability mode.
            BackendUnavailable: the server cannot be started.
        """
        find_binary()
        self._home = open_home(self._path, self._durability, self._on_server_started)
        try:
            await self._come_in()
        except BaseException:
            self._home.close()
            raise
        self._guard = asyncio.create_task(guard(self._well, self.ensure))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
            if self._worker is None:
                await self._stop_if_last()
        finally:
            self._home.close()

    async def ensure(self) -> None:
        """See that server and worker run and the server is ready; for whoever lost its connection.

        Raises:
            BackendUnavailable: the server cannot be started, or the folder was deleted.
        """
        async with self._home.starting():
            # The worker first: if we are killed between the two, somebody is there to stop the server.
            self._ensure_worker()
            await self._home.ensure_server()

    async def _come_in(self) -> None:
        await self._share()
        try:
            await self.ensure()
        except OtherDurability:
            # Perhaps nobody is there but a worker that lingers: then its server ends as soon as we are out of its way.
            if not await self._left_by_all():
                raise
            await self._share()
            await self.ensure()

    async def _share(self) -> None:
        if not await self._home.locks.users.take(shared=True, timeout_s=_STOPPING_TIMEOUT_S):
            raise BackendUnavailable(f"the worker of {self._home.path} is still finishing its last work; try again")
        self._home.locks.users.touch()

    async def _left_by_all(self) -> bool:
        users, server = self._home.locks.users, self._home.server
        # Not alone, but able to share: there are other users. Unable even to share: the worker is stopping it already.
        shared_with_others = not users.try_take() and users.try_take(shared=True)
        users.release()
        if shared_with_others:
            return False
        try:
            async with asyncio.timeout(_STOPPING_TIMEOUT_S):
                while not server.dead() and self._home.locks.worker.taken_by_another():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return False
        if not server.dead() and users.try_take():
            await self._home.stop_server()
            users.release()
        return server.dead()

    def _ensure_worker(self) -> None:
        if self._worker is not None and not self._home.server.replaced():
            try:
                spawn_worker(self._worker, self._worker_environment, self._home)
            except OSError as error:
                raise BackendUnavailable(f"the worker {self._worker[0]} cannot be started: {error.strerror}") from None

    def _well(self) -> bool:
        if self._home.server.replaced():
            return True  # nothing that could be healed; `ensure` says so
        return not self._home.server.dead() and (self._worker is None or self._home.locks.worker.taken_by_another())

    async def _stop_if_last(self) -> None:
        self._home.locks.users.release()
        if self._home.locks.users.try_take() and not self._home.locks.worker.taken_by_another():
            await self._home.stop_server()

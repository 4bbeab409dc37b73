"""An embedded folder as every process of it has it open: its locks, and its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard.children import reap
from hotsku.shard.folder_locks import FolderLocks
from hotsku.shard.folder_server import FolderServer, OnServerStarted
from hotsku.shard.launcher import DurabilityMode

_START_LOCK_TIMEOUT_S = 60.0


class FolderHome:
    """An open embedded folder.

    Args:
        path: the folder, absolute (see `resolved`).
        locks: its locks.
        durability, on_server_started: see `EmbeddedFolder`.
    """

    def __init__(
        self, path: Path, locks: FolderLocks, durability: DurabilityMode, on_server_started: OnServerStarted | None
    ) -> None:
        self.path = path
        self.locks = locks
        self.server = FolderServer(path, locks.server, durability, on_server_started)
        self._mutex = asyncio.Lock()

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Hold the start lock, against other processes and other tasks of this one.

        Raises:
            BackendUnavailable: others held it for a minute.
        """
        start = self.locks.start
        async with self._mutex:
            if not await start.take(timeout_s=_START_LOCK_TIMEOUT_S):
                raise BackendUnavailable(f"another process keeps {start.path} locked; is it stopped?")
            try:
                yield
            finally:
                start.release()

    async def ensure_server(self) -> None:
        """See that the server runs and is prepared. The caller holds the start lock.

        Raises:
            BackendUnavailable: the folder was deleted; or as `FolderServer.ensure`.
        """
        reap()
        if self.server.replaced():
            raise BackendUnavailable(f"the folder {self.path} was deleted while it was in use; start again")
        await self.server.ensure()

    async def stop_server(self) -> None:
        """End the server in order. The caller holds `users` exclusively, so that nobody needs it.

        Raises:
            BackendUnavailable: it does not end.
        """
        async with self.starting():
            await self.server.stop()

    def close(self) -> None:
        """Let go of every lock."""
        self.locks.close()


def resolved(path: Path) -> Path:
    """The folder's real path, made (mode 0700) where it is absent.

    Raises:
        InvalidSettings: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.resolve(strict=True)
    except OSError as error:
        raise unusable(path, error) from None


def open_home(path: Path, durability: DurabilityMode, on_server_started: OnServerStarted | None) -> FolderHome:
    """Open a folder, making what is absent.

    Raises:
        InvalidSettings: it cannot be made or written.
    """
    home = resolved(path)
    try:
        (home / "valkey").mkdir(mode=0o700, exist_ok=True)
        locks = FolderLocks.open(home)
    except OSError as error:
        raise unusable(home, error) from None
    return FolderHome(home, locks, durability, on_server_started)


def unusable(path: Path, error: OSError) -> InvalidSettings:
    """The one line for a folder that cannot be used."""
    return InvalidSettings(
        f"shard_url: the folder {path} cannot be used ({error.strerror}); "
        "name one that you may write to, as in shard_url=embedded:./.hotsku"
    )

"""Who runs the servers of a folder: one process at a time, and no server outlives it for long."""

import asyncio
import sys
from pathlib import Path

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard import cluster_keeper
from hotsku.shard.children import Process, start_detached
from hotsku.shard.locks import FileLock

# A killed owner's keeper takes the lock at once, and may then need its two times ten seconds.
_TAKE_TIMEOUT_S = 0.5
_KEEPER_TIMEOUT_S = 25.0


class FolderOwner:
    """The right to run a folder's servers, and the keeper that ends them should this process be killed.

    Args:
        folder: where each server has a folder of its own; it must exist, and be absolute.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / cluster_keeper.OWNER_LOCK)
        self._keeper: Process | None = None

    async def take(self) -> None:
        """Become the owner: end what a killed owner left, and start the keeper.

        Raises:
            InvalidSettings: another process owns the folder.
            BackendUnavailable: servers that a killed owner left do not end.
        """
        if not await self._take_lock():
            raise InvalidSettings(f"another process runs the servers of {self._folder}: end it, or name another folder")
        self._lock.write("")
        await self._end_servers()
        self._keeper = start_detached(
            [sys.executable, "-I", cluster_keeper.__file__, str(self._folder)], self._folder / "keeper.log"
        )

    async def leave(self) -> None:
        """End what runs in the folder, and let others have it.

        Raises:
            BackendUnavailable: a server does not end.
        """
        try:
            if self._lock.held:
                await self._end_servers()
        finally:
            if self._keeper is not None:
                self._keeper.kill()
                self._keeper.wait()
            self._lock.close()

    async def _take_lock(self) -> bool:
        if await self._lock.take(timeout_s=_TAKE_TIMEOUT_S):
            return True
        return self._lock.content() == cluster_keeper.ENDING and await self._lock.take(timeout_s=_KEEPER_TIMEOUT_S)

    async def _end_servers(self) -> None:
        if not await asyncio.to_thread(cluster_keeper.end_servers, self._folder):
            raise BackendUnavailable(f"a server of {self._folder} does not end; see its valkey.log")

"""The server of an embedded folder: found, started, stopped. All of it is done under the folder's start lock."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from redis.exceptions import RedisError

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.shard.launcher import FSYNC, START_TIMEOUT_S, DurabilityMode, ServerSpec, find_binary, last_line, launch
from hotsku.shard.locks import FileLock, lock_folder
from hotsku.shard.probe import ServerInfo, appendfsync, probe, shut_down
from hotsku.shard.sockets import current_socket, forget_socket, socket_to_bind

OnServerStarted = Callable[[Path], Awaitable[None]]
_POLL_S = 0.02
_STOP_TIMEOUT_S = 15.0
_PREPARE_TIMEOUT_S = 30.0


class OtherDurability(InvalidSettings):
    """The folder's server runs in the other durability mode."""


class FolderServer:
    """One folder's server.

    The server process inherits a lock on `server.lock`, so that the lock is taken exactly as long as the process lives:
    no pid has to be trusted, and two servers never write the same files.

    Args:
        home: the folder, absolute.
        lock: its `server.lock`.
        durability: how to start the server; one that runs otherwise is refused.
        on_started: called with the socket after a start, before anybody else uses the server.
    """

    def __init__(
        self, home: Path, lock: FileLock, durability: DurabilityMode, on_started: OnServerStarted | None
    ) -> None:
        self._home = home
        self._durability = durability
        self._on_started = on_started
        self._data = home / "valkey"
        self._log = home / "valkey.log"
        self._prepared = home / "valkey.prepared"
        self._lock = lock

    @property
    def socket(self) -> Path:
        return current_socket(self._home)

    def dead(self) -> bool:
        """Whether no process serves the folder. Costs a system call."""
        return not self._lock.taken_by_another()

    async def ensure(self) -> None:
        """Find the server, or start it, and prepare it where its starter could not.

        Raises:
            OtherDurability: it runs in the other durability mode.
            InvalidSettings: there is no binary to start.
            BackendUnavailable: it cannot be started, or does not answer.
        """
        info = await self._find()
        if info is None:
            info = await self._start()
        else:
            await self._check_durability()
        await self._prepare(info)

    async def stop(self) -> None:
        """End the server in order and wait until its process is gone. A dead server is fine.

        Raises:
            BackendUnavailable: it did not end in time.
        """
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                if not self.dead():
                    await self._ask_to_end()
                while not self.dead():  # noqa: ASYNC110 - flock has no event to await
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise BackendUnavailable(
                f"the Valkey server of {self._home} does not end: {last_line(self._log)}"
            ) from None
        if not self._lock.replaced():
            forget_socket(self._home)

    def replaced(self) -> bool:
        """Whether the folder was deleted or made anew since this object was made."""
        return self._lock.replaced()

    async def _find(self) -> ServerInfo | None:
        """The running server, once it is ready; None where none runs."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not self.dead():
                    info = await probe(self.socket)
                    if info is not None and not info.loading:
                        return info
                    # A starter that was killed leaves a server that is about to answer.
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise BackendUnavailable(
                f"the Valkey server of {self._home} runs but does not answer on {self.socket}: {last_line(self._log)}"
            ) from None
        return None

    async def _start(self) -> ServerInfo:
        binary = find_binary()
        lock = await self._lock_for_server()
        data_fd = self._lock_data(lock)
        try:
            lock.write("")
            process = await launch(self._spec(binary), inherit=(lock.descriptor, data_fd))
            # For `_ask_to_end` in a folder that was deleted: the lock says that it lives, this says who it is.
            lock.write(str(process.pid))
        finally:
            lock.forget()
            os.close(data_fd)
        process.leave_alone()
        return process.info

    def _lock_data(self, lock: FileLock) -> int:
        """Lock the server's files. Two servers on one file would both sell what is in it; and a lock file alone may be
        removed by whoever tidies up."""
        data_fd = lock_folder(self._data)
        if data_fd is None:
            lock.close()
            raise BackendUnavailable(
                f"another Valkey server still uses {self._data}, though the lock files of the folder were removed; "
                "end its users, or that server, and try again"
            )
        return data_fd

    async def _lock_for_server(self) -> FileLock:
        for _ in range(100):
            lock = self._lock.lock_for_child()
            if lock is not None:
                return lock
            # Somebody's look at the lock (`dead`) holds it for an instant.
            await asyncio.sleep(_POLL_S)
        raise BackendUnavailable(f"another process starts a Valkey server in {self._home}; try again")

    def _spec(self, binary: Path) -> ServerSpec:
        return ServerSpec(
            binary=binary,
            data=self._data,
            socket=socket_to_bind(self._home),
            log=self._log,
            pidfile=self._home / "valkey.pid",
            durability=self._durability,
        )

    async def _check_durability(self) -> None:
        try:
            fsync = await appendfsync(self.socket)
        except (RedisError, OSError, TimeoutError) as error:
            raise BackendUnavailable(f"the Valkey server of {self._home} does not answer: {error}") from None
        if fsync != FSYNC[self._durability]:
            runs = next((mode for mode, setting in FSYNC.items() if setting == fsync), f"appendfsync {fsync}")
            raise OtherDurability(
                f"durability must be {runs!r}, not {self._durability!r}: the folder {self._home} is in use with "
                f"{runs!r}; ask for the same, or wait until its other users have left"
            )

    async def _prepare(self, info: ServerInfo) -> None:
        """Whoever started the server may have been killed before the callback, so its success is written down."""
        if self._on_started is None or self._prepared_run() == info.run_id:
            return
        try:
            async with asyncio.timeout(_PREPARE_TIMEOUT_S):
                await self._on_started(self.socket)
        except TimeoutError:
            raise BackendUnavailable(f"the Valkey server of {self._home} was not prepared in time") from None
        self._prepared.write_text(info.run_id, "ascii")

    def _prepared_run(self) -> str:
        try:
            return self._prepared.read_text("ascii")
        except (FileNotFoundError, ValueError):
            return ""

    async def _ask_to_end(self) -> None:
        if not self._lock.replaced():
            await shut_down(self.socket)
            return
        # The path leads elsewhere by now. The lock is held, so the pid in its file is that of the living server. Not
        # in order, for then it would remove the socket and the pid file of its successor; its data are gone anyway.
        pid = self._lock.content()
        if pid.isdigit():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

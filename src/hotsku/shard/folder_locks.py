"""The locks of an embedded folder, and how a worker process inherits them.

    start.lock    exclusive, only while the server or the worker is being started or stopped
    users.lock    shared by every user as long as it uses the folder; exclusive: nobody is left
    worker.lock   exclusive, by the worker process as long as it lives
    server.lock   exclusive, by the server process as long as it lives (it inherits it)

Whoever needs several takes `users` or `worker` first, then `start`; `server` is only ever tried.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hotsku.shard.locks import FileLock

_NAMES = ("start", "users", "worker", "server")
_INHERITED = "_HOTSKU_WORKER_SEAT"


@dataclass(frozen=True, kw_only=True)
class FolderLocks:
    """The four lock files, open."""

    start: FileLock
    users: FileLock
    worker: FileLock
    server: FileLock

    @classmethod
    def open(cls, home: Path) -> "FolderLocks":
        """Open the files of a folder that exists. Raises OSError where that cannot be."""
        opened: dict[str, FileLock] = {}
        try:
            for name in _NAMES:
                opened[name] = FileLock(_file(home, name))
        except OSError:
            for lock in opened.values():
                lock.close()
            raise
        return cls(**opened)

    @classmethod
    def inherited(cls, home: Path) -> "FolderLocks | None":
        """The locks that the parent left to this process for this folder, `worker` taken; None where it left none.

        They are the parent's files even if the folder was deleted since: its server must still find its end.
        """
        numbers, _, path = os.environ.get(_INHERITED, "").partition(":")
        if not numbers or path != str(home):
            return None
        del os.environ[_INHERITED]
        fds = dict(zip(_NAMES, map(int, numbers.split(",")), strict=True))
        return cls(**{name: FileLock(_file(home, name), fd=fd, held=name == "worker") for name, fd in fds.items()})

    @contextmanager
    def for_worker(self, home: Path) -> Iterator["Legacy | None"]:
        """Open the locks once more for a worker process, with `worker` taken; None where the folder has a worker."""
        seat = self.worker.lock_for_child()
        if seat is None:
            yield None
            return
        locks = {"worker": seat}
        try:
            for name in _NAMES:
                locks.setdefault(name, FileLock(_file(home, name)))
            fds = tuple(locks[name].descriptor for name in _NAMES)
            yield Legacy(fds=fds, environment={_INHERITED: f"{','.join(map(str, fds))}:{home}"})
        finally:
            for lock in locks.values():
                lock.forget()

    def close(self) -> None:
        """Let go of all; the worker's seat first, so that whoever waits for `users` then finds it free."""
        for lock in (self.worker, self.users, self.start, self.server):
            lock.close()


@dataclass(frozen=True)
class Legacy:
    """What a worker process is started with to inherit the locks."""

    fds: tuple[int, ...]
    environment: dict[str, str]


def _file(home: Path, name: str) -> Path:
    return home / f"{name}.lock"

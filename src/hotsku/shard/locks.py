"""Advisory locks between processes (flock). The kernel lets go of them when their holder dies, however it dies."""

import asyncio
import fcntl
import os
import weakref
from pathlib import Path

_POLL_S = 0.02
_open: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def lock_folder(path: Path) -> int | None:
    """Take the lock of a folder itself, for a child process to inherit: it cannot be removed without what is in it.

    Returns:
        the descriptor that holds it, to be closed once the child has started; None where somebody holds it.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class FileLock:
    """A lock file, opened once: it stays the same lock when the file is deleted or replaced behind our back.

    Waiting is by polling, so that a cancelled wait leaves nothing behind. A forked child loses the lock's descriptor
    (it would otherwise keep its parent's lock alive); a started program never gets it (close-on-exec).

    Args:
        path: the lock file; made (mode 0600) where it is absent. Its folder must exist.
        fd: the file, where this process has inherited it open; `held`: and the lock on it.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, fd: int | None = None, held: bool = False) -> None:
        self._fd = -1
        self.path = path
        self.held = held
        self._fd = _open_file(path) if fd is None else fd
        os.set_inheritable(self._fd, False)
        _open.add(self)

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock now, or change how it is held; False where others are in the way (then it is not held)."""
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        self.held = True
        return True

    async def take(self, *, shared: bool = False, timeout_s: float) -> bool:
        """Take the lock, waiting up to `timeout_s` seconds; False where others hold it until then."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.try_take(shared=shared):  # noqa: ASYNC110 - flock has no event to await
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Let go of the lock; the file stays open."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.held = False

    def touch(self) -> None:
        """Leave a trace that somebody was here, for `touched_ns`."""
        os.utime(self._fd)

    @property
    def touched_ns(self) -> int:
        """When somebody last touched the lock, in nanoseconds since the epoch."""
        return os.fstat(self._fd).st_mtime_ns

    def taken_by_another(self) -> bool:
        """Whether somebody else holds it exclusively. Only for a lock that this object does not hold."""
        if self.try_take(shared=True):
            self.release()
            return False
        return True

    def lock_for_child(self) -> "FileLock | None":
        """Take the lock exclusively on a descriptor of its own, for a child process to inherit (see `descriptor`).

        `forget` it after the child has started: from then on the lock lives exactly as long as the child does.

        Returns:
            that lock, or None where somebody holds it.
        """
        lock = FileLock(self.path)
        if lock.try_take():
            return lock
        lock.forget()
        return None

    @property
    def descriptor(self) -> int:
        return self._fd

    def write(self, content: str) -> None:
        """Make this the file's content (ASCII)."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, content.encode("ascii"), 0)

    def content(self) -> str:
        """What its holder wrote into the file, up to 64 bytes; also after the file was deleted."""
        return os.pread(self._fd, 64, 0).decode("ascii", "replace")

    def replaced(self) -> bool:
        """Whether the file at the path is no longer the one that was opened (the folder was deleted, or made anew)."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Let go of the lock and of the file. Closing again does nothing."""
        if self._fd >= 0:
            # Explicitly: a child that another library forked may still have a copy of the descriptor.
            self.release()
            self.forget()

    def forget(self) -> None:
        """Close the file without letting go of the lock: a child that inherited it still holds it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _forget_in_child() -> None:
    for lock in list(_open):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)

"""Starts and watches the processes of an embedded folder for tests."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = Path(__file__).with_name("folder_user.py")
# Longer than a machine stands still now and then.
_PATIENCE_S = 60.0


def eventually(true: Callable[[], object], what: str, within_s: float = _PATIENCE_S) -> None:
    """Wait for something that another process does, with no event to wait for."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


class User:
    """A process that uses the folder."""

    def __init__(self, home: Path, durability: str, linger: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_USER), str(home), durability, linger],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> dict[str, str | int | None]:
        """The next line that it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, str | int | None] = json.loads(line) if line else {"error": "it ended"}
        return answer

    def ask(self) -> dict[str, str | int | None]:
        """Make it ensure the stack, and say what it has."""
        assert self._process.stdin is not None
        self._process.stdin.write("ping\n")
        self._process.stdin.flush()
        return self.answer()

    def leave(self) -> int:
        """Let it go in order; its exit status."""
        self._process.communicate(timeout=_PATIENCE_S)
        return self._process.returncode

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.communicate()


class Folder:
    """An embedded folder under test, and the users that the test has started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users: list[User] = []

    def user(self, durability: str = "durable", linger: str = "0.2") -> User:
        """Start a user; `linger` "none": one without a worker."""
        user = User(self.path, durability, linger)
        self._users.append(user)
        return user

    def taken(self, name: str) -> bool:
        """Whether somebody holds the lock of this name."""
        try:
            with (self.path / f"{name}.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Somebody uses it, and starts nothing: worker and server of others do not end meanwhile."""
        self.path.mkdir(exist_ok=True)
        with (self.path / "users.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @property
    def worker_pid(self) -> int:
        """The worker, once it has taken its seat."""
        file = self.path / "worker.pid"
        eventually(lambda: file.exists() and file.read_text(), "a worker")
        return int(file.read_text())

    def kill_worker(self) -> int:
        """kill -9 of the worker; its pid."""
        pid = self.worker_pid
        (self.path / "worker.pid").unlink()
        os.kill(pid, signal.SIGKILL)
        return pid

    def flushes(self) -> int:
        """How often a worker found itself alone."""
        file = self.path / "flushed"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def ended(self) -> bool:
        """Whether neither a worker nor a server is left."""
        return not self.taken("worker") and not self.taken("server")

    def close(self) -> None:
        (self.path / "hold").unlink(missing_ok=True)
        for user in self._users:
            user.kill()
        eventually(self.ended, "worker and server end")


@contextmanager
def embedded_folder(name: str = "f") -> Iterator[Folder]:
    """A folder that does not exist yet; at the end everybody in it must be gone."""
    root = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    folder = Folder(root / name)
    try:
        yield folder
    finally:
        folder.close()
        shutil.rmtree(root, ignore_errors=True)

"""Ends a folder's servers once the process that runs them is gone: `python -I cluster_keeper.py FOLDER`.

The owner of the folder holds `owner.lock`, and each server the `server.lock` of its own folder, which it inherited. The
kernel lets go of them however their holders die. So the keeper waits for the first lock, and then ends whoever still
holds one of the others; a pid counts only as long as its server's lock is held.

It is started by its path and imports only the standard library: the package would cost it half a second at each start.
"""

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

OWNER_LOCK = "owner.lock"
SERVER_LOCK = "server.lock"
PIDFILE = "valkey.pid"
ENDING = "ending"
"""What `owner.lock` says while the keeper holds it."""
_TICK_S = 0.02
_TICKS = 500


def end_servers(folder: Path) -> bool:
    """End every server below `folder`: in order first, and after ten seconds at once. The caller holds `owner.lock`.

    Returns:
        whether all of them are gone.
    """
    return _end(folder, signal.SIGTERM) or _end(folder, signal.SIGKILL)


def _end(folder: Path, number: signal.Signals) -> bool:
    told: set[Path] = set()
    for _ in range(_TICKS):
        living = [home for home in _homes(folder) if _lives(home)]
        if not living:
            return True
        for home in living:
            if home not in told and _tell(home, number):
                told.add(home)
        time.sleep(_TICK_S)
    return False


def _homes(folder: Path) -> list[Path]:
    return [lock.parent for lock in folder.glob(f"*/{SERVER_LOCK}")]


def _lives(home: Path) -> bool:
    with suppress(FileNotFoundError), (home / SERVER_LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _tell(home: Path, number: signal.Signals) -> bool:
    """Send the server a signal; False where it has not written its pid yet."""
    try:
        pid = int((home / PIDFILE).read_text("ascii"))
    except (OSError, ValueError):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # one that is stopped does not hear the other
    return True


def _main(folder: Path) -> None:
    with (folder / OWNER_LOCK).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(ENDING)
        file.flush()
        # A folder that was made anew meanwhile has a keeper of its own.
        with suppress(FileNotFoundError):
            if os.path.samestat((folder / OWNER_LOCK).stat(), os.fstat(file.fileno())):
                end_servers(folder)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))

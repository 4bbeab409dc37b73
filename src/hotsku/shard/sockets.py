"""Where an embedded folder's server listens: in the folder, or elsewhere where its path is too long for a socket."""

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

# sizeof(sun_path), less the NUL that ends it.
_LONGEST = (108 if sys.platform == "linux" else 104) - 1
_NAME = "valkey.sock"
_OWNER = "folder"


def current_socket(home: Path) -> Path:
    """The socket of the folder's server, as far as it is known; it need not exist."""
    near = home / _NAME
    if _fits(near):
        return near
    remembered = _remembered(home)
    return remembered / _NAME if remembered else near


def socket_to_bind(home: Path) -> Path:
    """The socket for a server to be started; makes a private (0700) folder for it where the folder's path is too long.

    Raises:
        OSError: no such folder can be made.
    """
    near = home / _NAME
    if _fits(near):
        return near
    apart = _remembered(home) or _make_apart(home)
    return apart / _NAME


def forget_socket(home: Path) -> None:
    """Remove what the server's socket leaves behind."""
    apart = _remembered(home)
    current_socket(home).unlink(missing_ok=True)
    if apart is not None:
        shutil.rmtree(apart, ignore_errors=True)


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= _LONGEST


def _note(home: Path) -> Path:
    return home / "valkey.sock.in"


def _make_apart(home: Path) -> Path:
    apart = Path(tempfile.mkdtemp(prefix="hotsku-"))
    if not _fits(apart / _NAME):
        # TMPDIR may be as long as the folder is.
        apart.rmdir()
        apart = Path(tempfile.mkdtemp(prefix="hotsku-", dir="/tmp"))
    (apart / _OWNER).write_text(str(home), "utf-8")
    _note(home).write_text(str(apart), "utf-8")
    return apart


def _remembered(home: Path) -> Path | None:
    """The folder apart that `home` remembers, where it still is, and is safely ours."""
    try:
        apart = Path(_note(home).read_text("utf-8"))
        facts = apart.lstat()
        # A copy of an embedded folder remembers its original's socket.
        ours = (apart / _OWNER).read_text("utf-8") == str(home)
    except (OSError, ValueError):
        return None
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) == 0o700
    return apart if ours and private else None

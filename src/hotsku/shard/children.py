"""Child processes that are meant to outlive us: started apart from us, and reaped where they end first."""

import atexit
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

Process = subprocess.Popen[bytes]

_left_alone: list[Process] = []


def start_detached(
    command: Sequence[str], log: Path, *, inherit: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
) -> Process:
    """Start a program in a session of its own (a Ctrl-C in our terminal does not reach it), its output in `log`.

    Args:
        inherit: descriptors that it gets, at their numbers; it gets no others.
        environment: variables added to ours.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=inherit,
            env={**os.environ, **(environment or {})},
        )


def leave_alone(process: Process) -> None:
    """Let a child run on without us; while we live, `reap` sees to it that it does not stay a zombie."""
    reap()
    _left_alone.append(process)


def reap() -> None:
    """Forget the children that have ended."""
    _left_alone[:] = [process for process in _left_alone if process.poll() is None]


@atexit.register
def _let_go() -> None:
    for process in _left_alone:
        if process.poll() is None:
            # They outlive us on purpose; without this, -X dev would warn of each.
            process.returncode = 0

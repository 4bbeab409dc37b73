"""Runs the programs in examples/ as processes of their own, as their readers do."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.support.documents import ROOT

EXAMPLES = ROOT / "examples"
_PATIENCE_S = 90.0


class Example:
    """A program that runs. All that it says is read."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._said: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it has said up to now."""
        return "".join(self._said)

    def wait_for(self, words: str) -> str:
        """Wait until it has said a line with these words; the line."""
        with self._more:
            self._more.wait_for(lambda: self._line(words) or self._process.poll() is not None, _PATIENCE_S)
            line = self._line(words)
        assert line, f"it never said {words!r}: {self.said}"
        return line

    def kill(self) -> None:
        """kill -9, also of what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self._process.terminate()
        status = self._process.wait(_PATIENCE_S)
        self._reader.join()
        return status

    def _line(self, words: str) -> str:
        return next((line for line in self._said if words in line), "")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                with self._more:
                    self._said.append(line)
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()


@contextmanager
def running_example(command: Sequence[str], environment: dict[str, str]) -> Iterator[Example]:
    """A program by its command line, as Python understands it; it is killed at the end.

    Args:
        command: as `["examples/x/y.py"]` or `["-m", "uvicorn", ...]`.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    example = Example(process)
    try:
        yield example
    finally:
        example.kill()

"""Runs the real `hotsku` command as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_HOTSKU = [sys.executable, "-m", "hotsku.cli.main"]
_TIMEOUT_S = 90
# Longer than a machine stands still now and then; tests of what happens when a wait is over say their own.
_PATIENT = {"HOTSKU_SHARD_TIMEOUT_MS": "60000", "HOTSKU_HTTP_DEADLINE_MS": "60000"}

Json = dict[str, object]


class Done:
    """A command that has ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Json:
        """Its answer, which must be one JSON object on one line and nothing else."""
        assert self.out.count("\n") == 1, self
        assert self.out.endswith("\n"), self
        answer = json.loads(self.out)
        assert type(answer) is dict, self
        return answer

    @property
    def error(self) -> str:
        """Its one line of error."""
        lines = [line for line in self.err.splitlines() if not line.startswith("hotsku: ") or "error" in line]
        assert len(lines) == 1, self
        assert lines[0].startswith("hotsku: error: "), self
        return lines[0].removeprefix("hotsku: error: ")

    def __repr__(self) -> str:
        return f"status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Shell:
    """A folder to run commands in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Done:
        """Run a command to its end."""
        with self.begin(*arguments, environment=environment) as process:
            return finish(process)

    @contextmanager
    def begin(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        most_files: int | None = None,
    ) -> "Iterator[subprocess.Popen[str]]":
        """Begin a command; it is killed if it has not ended by the end of the context.

        Args:
            most_files: that it, and each process that it starts, may have open.
        """
        limited = [] if most_files is None else ["sh", "-c", f'ulimit -n {most_files} && exec "$0" "$@"']
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOTSKU_")}
        process = subprocess.Popen(
            [*limited, *_HOTSKU, *arguments],
            cwd=self.path,
            env=kept | _PATIENT | (environment or {}),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def finish(process: "subprocess.Popen[str]") -> Done:
    """Wait for a command to end."""
    out, err = process.communicate(timeout=_TIMEOUT_S)
    return Done(process.returncode, out or "", err)


def wait_for_words(process: "subprocess.Popen[str]", words: str) -> None:
    """Read the command's words until a line has these. They are not in `Done.err` any more."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"the command never said {words!r}")


def processes(*words: str, parent: int | None = None) -> list[int]:
    """The living processes whose command line has all of the words; with `parent`, only those that it started."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it ended while we looked
            line = (folder / "cmdline").read_bytes().decode(errors="replace") if folder.name.isdigit() else ""
            if not line or not all(word in line for word in words):
                continue
            if parent is None or parent == int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1]):
                found.append(int(folder.name))
    return found

"""`hotsku cluster` as a process: what it says, how it ends, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from tests.support.folder_processes import eventually


class Command:
    """A running `hotsku cluster`, ready."""

    def __init__(self, folder: Path) -> None:
        options = ("--masters", "1", "--replicas", "0", "--json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hotsku.cli.main", "cluster", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.answer = json.loads(self.process.stdout.readline())
        (self.node,) = self.answer["nodes"]

    def end(self, number: signal.Signals) -> int:
        """Send a signal; its exit status."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=90)
        assert rest == ""
        return self.process.returncode

    def client(self) -> "Redis":
        host, _, port = self.node["address"].partition(":")
        return Redis(host=host, port=int(port), decode_responses=True, socket_timeout=60)


@contextmanager
def command(folder: Path) -> Iterator[Command]:
    running = Command(folder)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def runs(pid: int) -> bool:
    """Whether a process does anything: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_says_one_line_and_ends_with_its_servers_on_ctrl_c(tmp_path: Path) -> None:
    with command(tmp_path / "c") as running:
        address = running.node["address"]
        assert running.answer == {
            "shard_url": f"redis+cluster://{address}",
            "folder": str(tmp_path / "c"),
            "nodes": [
                {
                    "address": address,
                    "role": "master",
                    "replica_of": None,
                    "slots": [[0, 16383]],
                    "pid": running.node["pid"],
                }
            ],
        }
        assert running.end(signal.SIGINT) == 130
        assert not runs(running.node["pid"])


def test_servers_of_a_killed_one_end_and_their_data_stay(tmp_path: Path) -> None:
    with command(tmp_path) as running:
        with running.client() as client:
            client.set("kept", "1")
        running.process.kill()
        eventually(lambda: not runs(running.node["pid"]), "the keeper ends the server")
    with command(tmp_path) as again:
        assert again.answer["shard_url"] == running.answer["shard_url"]
        with again.client() as client:
            assert client.get("kept") == "1"
        # A server that is stopped ends as well.
        os.kill(again.node["pid"], signal.SIGSTOP)
        assert again.end(signal.SIGTERM) == 0
        assert not runs(again.node["pid"])

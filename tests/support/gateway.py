"""Runs `hotsku serve` as a process of its own, on a free loopback port, and speaks raw HTTP to it."""

import json
import re
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx

from tests.support.commands import Done, Shell

Json = dict[str, object]

# Longer than a machine stands still now and then, several times over.
_TIMEOUT_S = 90


class Gateway:
    """A server that runs. Its words are read all the time: it would wait for a reader."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.url = ""
        self._said: list[str] = []
        self._serves = threading.Event()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self._serves.wait(_TIMEOUT_S)
        assert self.url, f"it does not serve: {''.join(self._said)}"

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            if found := re.search(r"serving on (https?://\S+)", line):
                self.url = found[1]
                self._serves.set()
        self._serves.set()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def said(self, words: str) -> int:
        """How many of its lines so far have these words."""
        return sum(words in line for line in self._said)

    def client(self, **more: object) -> httpx.Client:
        """A client of its own."""
        return httpx.Client(base_url=self.url, trust_env=False, **{"timeout": _TIMEOUT_S, **more})  # type: ignore[arg-type]

    def connect(self) -> "Raw":
        """A raw connection."""
        return Raw(socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_S))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Done:
        """Send it a signal, and wait for its end."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> Done:
        """Wait for its end."""
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        status = self.process.wait(_TIMEOUT_S)
        self._listener.join()
        return Done(status, out, "".join(self._said))


class RawAnswer:
    """An answer as it came over the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Json:
        value = json.loads(self.body)
        assert type(value) is dict
        return value


class Raw:
    """A connection that sends what it is told, byte for byte; its context closes it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Go, and say that nothing is taken any more: who only closes might still be waiting for an answer."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self) -> RawAnswer:
        """The next whole answer; an `EOFError` where the server ends the connection before it."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers["content-length"])
        self._received = rest
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return RawAnswer(int(lines[0].split(" ")[1]), headers, body)

    def ended(self) -> bool:
        """Wait until the server ends the connection; False where it sends something more."""
        try:
            return not self._received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError(self._received)
        self._received += data


def order(sku: str, body: str | bytes, *headers: str) -> bytes:
    """The bytes of `POST /v1/items/{sku}/deductions`."""
    return post(f"/v1/items/{sku}/deductions", body, *headers)


def post(path: str, body: str | bytes, *headers: str) -> bytes:
    """The bytes of a POST."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def running_gateway(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, most_files: int | None = None
) -> Iterator[Gateway]:
    """`hotsku serve` in a folder, by default on the embedded stack there; it is killed if a test has not stopped it."""
    command = ("serve", "--port", "0", *arguments)
    with Shell(folder).begin(*command, environment=environment, most_files=most_files) as process:
        gateway = Gateway(process)
        yield gateway
        process.kill()
        gateway.finish()

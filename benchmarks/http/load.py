"""The load: `python -m benchmarks.http.load PORT SECONDS CONNECTIONS RATE PREFIX`, in a process of its own.

Rate 0 is a closed loop: each connection sends its next order when it has the answer to its last. Any other is an open
loop: orders are due at that rate a second, and wait for a free connection. It prints one line of JSON.

It may have to share two cores with what it measures, and so it is as cheap as Python can be: no event loop, but sockets
and epoll; orders from one format, with numbers of one length. It is the same for all sides.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator

from hotsku.clock import SystemClock

_now_ms = SystemClock().monotonic_ms
_BODY = b'{"order_id":"o-%b-%%09d","quantity":1,"buyer_id":"u-%%09d"}'
_REQUEST = (
    b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b"
)
_LONGEST_ANSWER = 65_536
# An open loop looks that often at what is due, or whenever an answer comes.
_LOOK_S = 0.001
# How long the last answers are waited for.
_LAST_S = 5.0


class Connection:
    """One keep-alive connection with one order at a time."""

    __slots__ = ("received", "since_ms", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.since_ms = 0.0


class Load:
    """All connections, and what came of the orders."""

    def __init__(self, port: int, connections: int, prefix: str) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[bytes] = Counter()
        body = _BODY % prefix.encode()
        self._format = _REQUEST % (len(body % (0, 0)), body)
        self._sent = 0
        made = [Connection(port) for _ in range(connections)]
        self._by_fd = {each.socket.fileno(): each for each in made}
        self._free = deque(made)
        self._epoll = select.epoll()
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)

    def closed_loop(self, end_ms: float) -> None:
        """Send with every connection, and again when its answer has come."""
        now_ms = _now_ms()
        while self._free:
            self._send(self._free.popleft(), now_ms)
        while now_ms < end_ms:
            for connection in self._answered(1.0):
                now_ms = _now_ms()
                self._send(connection, now_ms)

    def open_loop(self, start_ms: float, end_ms: float, rate: float) -> None:
        """Send each order when it is due, or as soon after as a connection is free; its latency begins when it is
        due."""
        free, due = self._free, 0
        waiting: deque[float] = deque()
        while (now_ms := _now_ms()) < end_ms:
            until = int((now_ms - start_ms) * rate / 1000)
            waiting.extend(start_ms + number * 1000 / rate for number in range(due, until))
            due = until
            while free and waiting:
                self._send(free.popleft(), waiting.popleft())
            for connection in self._answered(_LOOK_S):
                if waiting:
                    self._send(connection, waiting.popleft())
                else:
                    free.append(connection)

    def finish(self) -> None:
        """Wait for the last answers."""
        end_ms = _now_ms() + _LAST_S * 1000
        while sum(self.statuses.values()) < self._sent:
            if _now_ms() > end_ms:
                raise RuntimeError(f"{self._sent} orders, and only {self.statuses} answers")
            self._free.extend(self._answered(_LOOK_S))

    def _send(self, connection: Connection, since_ms: float) -> None:
        self._sent = number = self._sent + 1
        connection.since_ms = since_ms
        connection.socket.send(self._format % (number, number))

    def _answered(self, timeout_s: float) -> Iterator[Connection]:
        """The connections whose answer is complete, waiting for the first ones. One after the other: the server has the
        next order of the first before the last answer is read."""
        for fd, _ in self._epoll.poll(timeout_s):
            connection = self._by_fd[fd]
            data = connection.socket.recv(_LONGEST_ANSWER)
            if connection.received:
                data = connection.received + data
            if data[-1:] != b"}":  # of every side, the answer is one JSON object
                if not data:
                    raise RuntimeError("the server has closed a connection")
                connection.received = data
                continue
            connection.received = b""
            self.latencies.append(_now_ms() - connection.since_ms)
            self.statuses[data[9:12]] += 1
            yield connection


def _main(port: int, seconds: float, connections: int, rate: float, prefix: str) -> None:
    load = Load(port, connections, prefix)
    gc.freeze()
    gc.disable()
    cpu_s, start_ms = time.process_time(), _now_ms()
    end_ms = start_ms + seconds * 1000
    if rate:
        load.open_loop(start_ms, end_ms, rate)
    else:
        load.closed_loop(end_ms)
    elapsed_s = (_now_ms() - start_ms) / 1000
    answered = len(load.latencies)
    load.finish()
    ordered = sorted(load.latencies)
    figures = {
        "per_s": answered / elapsed_s,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[int(len(ordered) * 0.99)],
        "statuses": {status.decode(): count for status, count in load.statuses.items()},
        "load_us": (time.process_time() - cpu_s) * 1e6 / len(ordered),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    _, port_, seconds_, connections_, rate_, prefix_ = sys.argv
    _main(int(port_), float(seconds_), int(connections_), float(rate_), prefix_)

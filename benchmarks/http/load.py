"""The load: `python -m benchmarks.http.load PORT SECONDS CONNECTIONS RATE PREFIX`, in a process of its own.

Rate 0 is a closed loop: each connection sends its next order when it has the answer to its last. Any other is an open
loop: orders are due at that rate a second, and wait for a free connection. It prints one line of JSON.
"""

import asyncio
import gc
import json
import sys
from collections import Counter, deque
from typing import cast

import uvloop

from hotsku.clock import SystemClock

_clock = SystemClock()
_HEAD = b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: "


class Load:
    """What all connections share."""

    def __init__(self, seconds: float, prefix: str) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[bytes] = Counter()
        self.free: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.closed_loop = True
        self.end_ms = _clock.monotonic_ms() + seconds * 1000
        self._prefix = prefix
        self._count = 0

    def request(self) -> bytes:
        self._count += 1
        body = b'{"order_id":"o-%b-%d","quantity":1,"buyer_id":"u-%d"}' % (
            self._prefix.encode(),
            self._count,
            self._count,
        )
        return b"%b%d\r\n\r\n%b" % (_HEAD, len(body), body)

    def answered(self, connection: "Connection", status: bytes, since_ms: float) -> None:
        now_ms = _clock.monotonic_ms()
        self.latencies.append(now_ms - since_ms)
        self.statuses[status] += 1
        if self.closed_loop:
            if now_ms < self.end_ms:
                connection.send(now_ms)
        elif self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.free.append(connection)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one order at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._since_ms = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def send(self, since_ms: float) -> None:
        self._since_ms = since_ms
        self._transport.write(self._load.request())

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if self._received.endswith(b"}"):  # of every side, the answer is one JSON object
            status, self._received = self._received[9:12], b""
            self._load.answered(self, status, self._since_ms)


async def _main(port: int, seconds: float, connections: int, rate: float, prefix: str) -> None:
    loop = asyncio.get_running_loop()
    load = Load(seconds, prefix)
    made = [(await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1] for _ in range(connections)]
    load.closed_loop = rate == 0
    gc.freeze()
    gc.disable()
    start_ms = _clock.monotonic_ms()
    load.end_ms = start_ms + seconds * 1000
    if rate:
        load.free.extend(made)
        await _open_loop(load, start_ms, rate)
    else:
        for connection in made:
            connection.send(_clock.monotonic_ms())
        await asyncio.sleep(seconds)
    elapsed_s = (_clock.monotonic_ms() - start_ms) / 1000
    answered = len(load.latencies)
    await asyncio.sleep(0.2)  # the last ones
    ordered = sorted(load.latencies)
    figures = {
        "per_s": answered / elapsed_s,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[int(len(ordered) * 0.99)],
        "statuses": {status.decode(): count for status, count in load.statuses.items()},
    }
    print(json.dumps(figures))


async def _open_loop(load: Load, start_ms: float, rate: float) -> None:
    sent = 0
    while (now_ms := _clock.monotonic_ms()) < load.end_ms:
        due = int((now_ms - start_ms) * rate / 1000)
        for number in range(sent, due):
            due_ms = start_ms + number * 1000 / rate
            if load.free:
                load.free.popleft().send(due_ms)
            else:
                load.waiting.append(due_ms)
        sent = due
        await asyncio.sleep(0.001)  # the loop's timers know no less: it would turn without a pause


if __name__ == "__main__":
    _, port_, seconds_, connections_, rate_, prefix_ = sys.argv
    uvloop.run(_main(int(port_), float(seconds_), int(connections_), float(rate_), prefix_))

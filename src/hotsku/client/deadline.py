"""Holds a thread's attempt to its end, whatever httpx is doing then.

The times that httpx is given are for each read and each write: an answer that drips would never be late. So the streams
of a connection are told of the attempt that they serve, and none of their steps goes on beyond its end. httpx names
them to its `trace` as it opens them, those to a proxy and those in TLS, too, whoever made the client.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx

# How many seconds the attempt has left that this thread is at; None where it is at none, but at a request of others.
_left: ContextVar[Callable[[], float] | None] = ContextVar("left", default=None)

_OPENS = ("connect_tcp", "connect_unix_socket", "start_tls")
_STARTED = tuple(f".{step}.started" for step in _OPENS)
_COMPLETE = tuple(f".{step}.complete" for step in _OPENS)

# The kernel takes a piece in a few steps, each of which has the time anew.
_PIECE = 65_536


@contextmanager
def attempt(timeout_s: float, now_s: Callable[[], float]) -> Iterator[None]:
    """What this thread does with httpx meanwhile is over in so many seconds; `note` has to be the requests' trace.

    Args:
        now_s: a clock that never runs backwards, in seconds.
    """
    end_s = now_s() + timeout_s
    token = _left.set(lambda: end_s - now_s())
    try:
        yield
    finally:
        _left.reset(token)


def note(event: str, info: Any) -> None:
    """httpx tells what it does."""
    if event.endswith(_STARTED):
        info["timeout"] = _left_s(info.get("timeout"), httpx.ConnectTimeout)
    elif event.endswith(_COMPLETE):
        _hold(info["return_value"])


def _hold(stream: Any) -> None:
    """Let the stream heed the attempt that it serves."""
    read, write = stream.read, stream.write

    def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = read(max_bytes, _left_s(timeout, httpx.ReadTimeout))
        return data

    def write_in_time(buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            write(buffer[start : start + _PIECE], _left_s(timeout, httpx.WriteTimeout))

    stream.read, stream.write = read_in_time, write_in_time


def _left_s(timeout_s: float | None, late: Callable[[str], Exception]) -> float | None:
    """How long a step may take that may take `timeout_s` by itself. Raises `late` where the attempt is over."""
    left = _left.get()
    if left is None:
        return timeout_s
    left_s = left()
    if left_s <= 0:
        raise late("the attempt's time is over")
    return left_s if timeout_s is None else min(timeout_s, left_s)

"""What an operation of the client asks its driver to do, and what it hears of it: no sockets here, and no waiting.

An operation is a generator. It yields a `Send` or a `Pause`; its driver does that, sends in
what came of it, and in the end has what the operation returns. So everything is written once, for asyncio and threads.
"""

from collections.abc import Generator, Mapping
from typing import TypeVar

from msgspec import Struct

T = TypeVar("T")


class Request(Struct, frozen=True):
    """One request to the gateway. `changes`: it may change something, so that it matters whether it arrived."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: bytes | None = None
    changes: bool = False


class Send(Struct, frozen=True):
    """Send the request and wait for its answer, for so many seconds in all."""

    request: Request
    timeout_s: float


class Pause(Struct, frozen=True):
    """Wait for so many seconds; nothing is heard of it."""

    seconds: float


class Reply(Struct, frozen=True):
    """An answer as it came."""

    status: int
    body: bytes
    retry_after: str | None = None


class Broken(Struct, frozen=True):
    """No answer came. `sent`: the request may have arrived."""

    why: str
    sent: bool


Act = Send | Pause
Heard = Reply | Broken | None
Operation = Generator[Act, Heard, T]

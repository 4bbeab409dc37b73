"""The few shapes of ASGI that the gateway uses, and how a body is read and an answer sent over it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from hotsku.http.answers import Answer, Headers, too_large

# As the ASGI specification has them: what is in a message depends on its type.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gone(Exception):
    """The client has gone: nobody waits for an answer."""


class Refused(Exception):
    """No more of the body is taken: it is broken, or longer than it may be."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.label)
        self.answer = answer


# Where a connection leaves, in the state of a request, the answer to a body that it takes no more of.
_REFUSAL = "hotsku.refusal"


def refuse_body(scope: Scope, answer: Answer) -> None:
    """Have `read_body` raise this answer. Whoever receives is to be woken then."""
    scope["state"][_REFUSAL] = answer


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body.

    Args:
        most: bytes.

    Raises:
        Refused: it is longer, or it was refused. What follows is not read.
        Gone: the client went before its end.
    """
    state = scope["state"]
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if _REFUSAL in state:
            raise Refused(state[_REFUSAL])
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Refused(too_large(most))
        if not message.get("more_body", False):
            return part if not parts else b"".join([*parts, part])
        parts.append(part)


async def send_answer(send: Send, answer: Answer, more_headers: Headers) -> None:
    """Send a whole answer."""
    headers = [
        (b"content-type", answer.media),
        (b"content-length", b"%d" % len(answer.body)),
        *more_headers,
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

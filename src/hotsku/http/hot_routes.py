"""The hot routes: the calls that a sale is made of, and how one is found by method and path.

A route reads a call (and refuses it by name) and answers it. It knows nothing of sockets, servers or ASGI. To add one,
write its class, name it in `hotsku.http.sale_routes`, and document it in `hotsku.http.hot_documents`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct

from hotsku.domain.deduction import Deduction
from hotsku.engine.request import Listener
from hotsku.errors import HotSKUError, InvalidRequest
from hotsku.http.answers import Answer
from hotsku.http.head import Head
from hotsku.http.keys import Role


class Call(Struct, frozen=True, gc=False):
    """One request: what the path's places hold, and the rest of it."""

    places: Sequence[str]
    head: Head
    query: bytes
    body: bytes


class Work(Struct, frozen=True, gc=False):
    """What a call asks for, read and checked.

    Attributes:
        slots: how many orders it is.
        do: does it; raises a `HotSKUError` where it cannot be done.
        late: what to say when the deadline passes meanwhile.
    """

    slots: int
    do: Callable[[], Awaitable[Answer]]
    late: Callable[[], Answer]


class HotRoute(Protocol):
    """One route: its method, its path as the documents have it, who may call it, how many bytes a body may have, and
    whether its answers are counted as what became of orders."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def max_body(self) -> int: ...
    @property
    def places_orders(self) -> bool: ...

    def read(self, call: Call) -> Work:
        """What is asked for. Raises `InvalidRequest`."""
        ...


Hear = Callable[[Deduction | HotSKUError], None]


class FastRoute(HotRoute, Protocol):
    """A route of one order, which needs nothing but the engine."""

    def offer(self, places: Sequence[str], head: Head, body: bytes, hear: Hear) -> Listener | None:
        """Hand the order to the engine, which calls `hear` with what became of it. None: it does not take it so, and
        nothing was done. Raises `InvalidRequest`."""
        ...

    def told(self, deduction: Deduction) -> Answer:
        """The answer that this is."""
        ...


def no_query(query: bytes) -> None:
    """See that there is no query. Raises `InvalidRequest`."""
    if query:
        raise InvalidRequest("query", "empty")


class Matched(Struct, frozen=True):
    """A route that a path leads to, and what its places hold."""

    route: HotRoute
    places: Sequence[str]


class HotRoutes:
    """Finds routes by method and path."""

    def __init__(self, routes: Sequence[HotRoute]) -> None:
        self.all = routes
        self._templates = [(route, route.path.split("/")) for route in routes]

    def match(self, method: str, path: str) -> Matched | list[str]:
        """The route, or the methods that the path has (none where it is no hot route's)."""
        parts = path.split("/")
        methods: list[str] = []
        for route, template in self._templates:
            if len(template) == len(parts) and all(
                t == p or t.startswith("{") for t, p in zip(template, parts, strict=True)
            ):
                if route.method == method:
                    return Matched(route, [p for t, p in zip(template, parts, strict=True) if t.startswith("{")])
                methods.append(route.method)
        return methods

"""What the demo and its client processes say to each other: JSON lines over the clients' stdin and stdout."""

from typing import TypeVar

import msgspec
from msgspec import Struct

S = TypeVar("S", bound=Struct)

# One line may carry a whole share.
LINE_LIMIT = 1 << 28


class Start(Struct, kw_only=True):
    """The first line to a client: what to connect to (settings by name), what to sell, with how many callers."""

    settings: dict[str, bool | int | str]
    sku: str
    callers: int


class Orders(Struct, kw_only=True):
    """To a client: orders to send after those that it has, or before them. After `final` none will follow.

    `quantities` is empty where each order is for one unit.
    """

    orders: list[int]
    quantities: list[int] = []
    urgent: bool = False
    final: bool = False


class Report(Struct, kw_only=True):
    """From a client: the orders answered since its last report.

    `refused` has them by outcome. `latencies` are counts by bucket (see `histogram`), `retries` the times that an order
    was sent again after a fault. `error` and `status` end it where it cannot go on.
    """

    ready: bool = False
    accepted: list[int] = []
    replayed: list[int] = []
    refused: dict[str, list[int]] = {}
    latencies: dict[int, int] = {}
    retries: int = 0
    done: bool = False
    error: str | None = None
    status: int = 0

    @property
    def answers(self) -> int:
        """How many orders it answers."""
        return len(self.accepted) + len(self.replayed) + sum(map(len, self.refused.values()))


def to_line(message: Struct) -> bytes:
    """The message as one line."""
    return msgspec.json.encode(message) + b"\n"


def from_line(line: bytes, kind: type[S]) -> S:
    """The message in a line."""
    return msgspec.json.decode(line, type=kind)


def order_id(order: int) -> str:
    """The id of an order by its number."""
    return f"o-{order}"


def buyer_id(order: int) -> str:
    """The id of the buyer who sends it."""
    return f"u-{order}"


def order_number(order_id: str) -> int:
    """The number of an order by its id."""
    return int(order_id.removeprefix("o-"))

"""How large the parts of one request are, as its pieces come: its head, and what comes beside its body."""

from collections.abc import Iterable

MAX_HEAD = 65_536


class MessageSize:
    """Counts the bytes of a request.

    A piece may end another request, and one may have the end of the head and the beginning of the body: what such a
    piece has is summed up only where it may matter.
    """

    def __init__(self) -> None:
        self._pieces = 0
        self._surely = 0
        self._body = 0
        self._behind = 0
        self._turns = True

    def begin(self) -> None:
        """A request begins, in the piece that is being read."""
        self._pieces = self._surely = self._body = self._behind = 0
        self._turns = True

    def is_head_too_large(self, piece: int) -> bool:
        """Whether the head is too large when another piece of data is over, and it is not."""
        self._pieces += piece
        if not self._turns:
            self._surely += piece
        self._turns = False
        return self._surely > MAX_HEAD

    def was_head_too_large(self, piece: int, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a head is too large that ends in this piece; so the body begins in it."""
        self._turns = True
        if self._pieces + piece <= MAX_HEAD:
            return False
        return len(url) + sum(len(b": \r\n") + len(name) + len(value) for name, value in headers) > MAX_HEAD

    def add_body(self, size: int) -> None:
        """So much of the body has come."""
        self._body += size

    def is_beside_body_too_large(self, piece: int) -> bool:
        """Whether chunk sizes, their extensions and trailers are too large when another piece is over, and the body is
        not: of these nobody else keeps the measure."""
        self._behind = self._body if self._turns else self._behind + piece
        self._turns = False
        return self._behind - self._body > MAX_HEAD

"""Heads that the parser has read before, so that the same bytes need not be read again.

A client that keeps its connection sends the same head with each order, but for the length of the body. What the parser
makes of a request depends on nothing but its bytes. So a head is kept, byte for byte, once the parser has read it as
that of a request that fills a segment to its end; the same bytes in front of as many others, where a request may begin,
are such a request again. Whatever else comes (in pieces, pipelined, in chunks, with one byte changed) is the parser's.
"""

from msgspec import Struct

from hotsku.http.head import Head, Way

_END = b"\r\n\r\n"

_MOST = 1_024
_MOST_BYTES = 2_048
# With one of these a head is hardly seen twice.
_UNIQUE = frozenset({b"idempotency-key", b"traceparent", b"x-request-id"})


class KnownHead(Struct, frozen=True, gc=False):
    """What such a head says. Its key, if one is needed, was admitted.

    Attributes:
        headers: those that matter, see `Head`.
        length: bytes of the body.
        keep_alive: whether the connection stays.
    """

    way: Way
    headers: dict[bytes, bytes]
    length: int
    keep_alive: bool


class KnownHeads:
    """The heads that a server process knows."""

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, KnownHead] = {}

    def find(self, segment: bytes) -> tuple[KnownHead, bytes] | None:
        """The head and the body of the request that the segment is; None where it is none, or its head is not known."""
        end = segment.find(_END) + len(_END)
        known = self._by_bytes.get(segment[:end])
        if known is None or len(segment) != end + known.length:
            return None
        return known, segment[end:]

    def learn(self, segment: bytes, body: bytes, way: Way, head: Head, *, keep_alive: bool) -> None:
        """Keep the head of a request that the parser has read.

        Args:
            segment: what came from where the request began until it was complete.
            body: as the parser gave it. Only where all of the segment behind its first blank line is the body, this
                line is the head's end, and nothing follows the request.
        """
        end = segment.find(_END) + len(_END)
        if end > _MOST_BYTES or segment[end:] != body or not _UNIQUE.isdisjoint(head.headers):
            return
        if len(way.places) > 1:  # an order's id is among them: the same holds
            return
        if len(self._by_bytes) >= _MOST:
            self._by_bytes.clear()
        self._by_bytes[segment[:end]] = KnownHead(way, head.headers, len(body), keep_alive)

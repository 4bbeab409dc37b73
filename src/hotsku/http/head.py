"""What the gateway looks at in a request's head."""

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:@+=/-]{1,128}")
_LOOPBACK = re.compile(rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d*)?", re.IGNORECASE)

# The headers that mean something to the gateway; all others are passed over.
_AUTHORIZATION = b"authorization"
_API_KEY = b"x-api-key"
_WANTED = frozenset(
    {
        _AUTHORIZATION,
        _API_KEY,
        b"content-length",
        b"host",
        b"idempotency-key",
        b"origin",
        b"sec-fetch-site",
        b"traceparent",
        b"tracestate",
        b"x-request-id",
    }
)

RawHeaders = Iterable[tuple[bytes, bytes]]


class Head(Struct, frozen=True, gc=False):
    """The headers that matter, by their names in lower case, and who sent them."""

    client: str
    headers: dict[bytes, bytes]

    @property
    def secret(self) -> bytes | None:
        """The API key: `Authorization: Bearer KEY`, or `X-API-Key: KEY`."""
        given = self.headers.get(_AUTHORIZATION)
        if given is None:
            return self.headers.get(_API_KEY)
        scheme, _, secret = given.partition(b" ")
        return secret.strip() if scheme.lower() == b"bearer" else None

    @property
    def length(self) -> int:
        """How long the body says it is; 0 where it does not say. The parser lets only digits through."""
        return int(self.headers.get(b"content-length", b"0"))

    @property
    def idempotency_key(self) -> str | None:
        """An order's id in the header; quotes around it, as the draft standard has them, are not part of it."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return None
        if len(given) > 1 and given.startswith(b'"') and given.endswith(b'"'):
            given = given[1:-1]
        return given.decode("latin-1")

    @property
    def of_a_page(self) -> bool:
        """Whether a browser sent it, on behalf of a page."""
        return b"sec-fetch-site" in self.headers or b"origin" in self.headers

    @property
    def to_loopback(self) -> bool:
        """Whether it is sent to a name that is this machine's wherever it is looked up. Browsers always name one."""
        host = self.headers.get(b"host")
        return host is None or _LOOPBACK.fullmatch(host) is not None

    @property
    def cross_site(self) -> bool:
        """Whether a browser sent it on behalf of another site."""
        site = self.headers.get(b"sec-fetch-site")
        if site is not None:
            return site not in (b"same-origin", b"none")
        origin = self.headers.get(b"origin")
        return origin is not None and origin.partition(b"://")[2] != self.headers.get(b"host")


def read_head(client: str, headers: RawHeaders) -> Head:
    """The head of a request whose header names are in lower case. A header that comes twice is one list (RFC 9110,
    5.3), which no order's id and no key can be."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return Head(client, found)


# The paths of the fast routes, of ids that need no decoding.
_ID = rb"[A-Za-z0-9._:@+=-]{1,64}"
_FAST = re.compile(
    rb"/v1/items/(%b)/(?:(deductions|reservations)|orders/(%b)/(confirm|release|extend|refund|begin-payment))"
    % (_ID, _ID)
)


class Way(Struct, frozen=True, gc=False):
    """Where a fast request goes: the last part of its path, by which the route is found, and what the path's places
    hold."""

    word: bytes
    places: Sequence[str]


def fast_way(path: bytes) -> Way | None:
    """The way of a path; None where it is not a fast one."""
    found = _FAST.fullmatch(path)
    if found is None:
        return None
    sku, word, order_id, step = found.groups()
    return Way(word, (sku.decode(),)) if word else Way(step, (sku.decode(), order_id.decode()))


class RequestIds:
    """Gives each request an id: its own, where it brings a decent one."""

    def __init__(self, prefix: str) -> None:
        """
        Args:
            prefix: of ids that are made here; no other process has it.
        """
        self._prefix = prefix.encode()
        self._count = 0

    def of(self, head: Head) -> bytes:
        given = head.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        self._count += 1
        return b"%b-%x" % (self._prefix, self._count)

"""What both drivers share: how requests look in httpx, what comes of them, and the terms of a client."""

import secrets
from importlib.metadata import version

import httpx

from hotsku.client.patience import Terms
from hotsku.client.trace import trace_headers
from hotsku.client.wire import Broken, Reply, Send
from hotsku.clock import SystemClock
from hotsku.domain.times import time_of
from hotsku.errors import InvalidRequest

# There was no connection to send it on.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_MS = 1000
_BITS = 53


class Gateway:
    """Where requests go, and what goes with each."""

    def __init__(self, url: str, api_key: str | None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidRequest("url", f"http://HOST[:PORT] or https://HOST[:PORT], not {url!a}")
        self._url = url.rstrip("/")
        self._headers = {"user-agent": f"hotsku/{version('hotsku')}"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    def request(self, act: Send, http: httpx.AsyncClient | httpx.Client) -> httpx.Request:
        """The request, with its time, as this client of httpx sends it."""
        asked = act.request
        headers = self._headers | trace_headers()
        if asked.body is not None:
            headers["content-type"] = "application/json"
        return http.build_request(
            asked.method,
            self._url + asked.path,
            params=dict(asked.query),
            headers=headers,
            content=asked.body,
            timeout=act.timeout_s,
        )


def replied(response: httpx.Response) -> Reply:
    """The answer that came."""
    return Reply(response.status_code, response.content, response.headers.get("retry-after"))


def broken(error: Exception, *, sent: bool = True) -> Broken:
    """Why none came. `sent` is false where it is known that the request was not sent; some errors say so themselves."""
    return Broken(str(error) or type(error).__name__, sent=sent and not isinstance(error, _NOT_SENT))


def make_terms(budget_s: float, attempt_s: float, settle_s: float) -> Terms:
    """The terms of a client. Raises `InvalidRequest`."""
    for name, value in (("budget_s", budget_s), ("attempt_s", attempt_s), ("settle_s", settle_s)):
        if not 0 <= value < float("inf"):
            raise InvalidRequest(name, "a number of seconds, not negative")
    clock = SystemClock()
    return Terms(
        budget_s=budget_s,
        attempt_s=attempt_s,
        settle_s=settle_s,
        now_s=lambda: clock.monotonic_ms() / _MS,
        draw=lambda: secrets.randbits(_BITS) / (1 << _BITS),
        now=lambda: time_of(clock.now_ms()),
        mint_id=lambda: secrets.token_hex(16),
    )

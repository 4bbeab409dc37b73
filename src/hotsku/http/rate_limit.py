"""How many requests a second one client may send: a token bucket each, of one second's worth."""

from collections import OrderedDict

from hotsku.ports import Clock

# Clients remembered at once. One that is forgotten begins with a full bucket: it had been quiet for longest.
_MOST_CLIENTS = 10_000


class RateLimit:
    """Counts by client. `per_s` 0: there is no limit."""

    def __init__(self, per_s: int, clock: Clock) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def allows(self, client: str) -> bool:
        """Count a request. False where the client has sent too many."""
        if not self._per_s:
            return True
        now_ms = self._clock.monotonic_ms()
        tokens, at_ms = self._buckets.pop(client, (float(self._per_s), now_ms))
        tokens = min(float(self._per_s), tokens + (now_ms - at_ms) * self._per_s / 1000)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now_ms)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed

    def give_back(self, client: str) -> None:
        """The request that was counted last is counted elsewhere."""
        if client in self._buckets:
            tokens, at_ms = self._buckets[client]
            self._buckets[client] = (tokens + 1, at_ms)

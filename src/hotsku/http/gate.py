"""Who comes in: the checks that every request passes before anything is done for it."""

from hotsku.http.answers import Answer, problem, retry_later
from hotsku.http.head import Head
from hotsku.http.keys import Keys, Role
from hotsku.http.rate_limit import RateLimit

_CHALLENGE = ((b"www-authenticate", b'Bearer realm="hotsku"'),)


class Gate:
    """Keys and rate limits."""

    def __init__(self, keys: Keys, rate_limit: RateLimit) -> None:
        self._keys = keys
        self._rate_limit = rate_limit

    def refuses(self, head: Head, role: Role, *, changes: bool) -> Answer | None:
        """Why the request may not come in; None where it may.

        Args:
            role: that the route needs.
            changes: whether the request may change something.
        """
        return self.limits(head.client) or self.judges(head, role, changes=changes)

    def limits(self, client: str) -> Answer | None:
        """Why the client may send nothing more now; None where it may. What its heads say is not looked at."""
        if not self._rate_limit.allows(client):
            return retry_later(429, "rate_limited", "this client sends more requests than it may")
        return None

    def forget(self, client: str) -> None:
        """A request that was let in comes again, by another way: it counts once."""
        self._rate_limit.give_back(client)

    def judges(self, head: Head, role: Role, *, changes: bool) -> Answer | None:
        """`refuses` without the rate. It depends on nothing but what is given: a head that was let in once need not be
        judged again."""
        if self._keys:
            return self._judged(head.secret, role)
        # Without keys a page of any site in a browser on this machine could sell: browsers say where a request is from.
        return _of_a_page(head) if changes and head.of_a_page else None

    def _judged(self, secret: bytes | None, role: Role) -> Answer | None:
        found = self._keys.role_of(secret) if secret else None
        if found is None:
            return problem(
                401,
                "unauthorized",
                "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
                field="authorization",
                headers=_CHALLENGE,
            )
        if found < role:
            why = f"the API key must be of the role {role.name.lower()} or a higher one"
            return problem(403, "forbidden", why, field="authorization")
        return None


def _of_a_page(head: Head) -> Answer | None:
    if head.cross_site:
        return problem(403, "forbidden", "a page of another site may not do this without an API key")
    # A site may let its own name lead here (DNS rebinding): then its pages are of the same site for the browser.
    if not head.to_loopback:
        why = "without an API key a page may do this only at localhost, 127.0.0.1 or [::1]"
        return problem(403, "forbidden", why, field="host")
    return None

"""Problem documents, as HTTP answers have them."""

import httpx

PROBLEM = "application/problem+json"


def no(response: httpx.Response, status: int) -> dict[str, object]:
    """A problem document with this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, object] = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    return body

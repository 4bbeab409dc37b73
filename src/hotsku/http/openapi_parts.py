"""The parts that the documents of routes are made of."""

from collections.abc import Sequence
from typing import Any

from hotsku.http.answers import PendingAnswer, Problem
from hotsku.http.bodies import BUYER_PATTERN, ID_PATTERN
from hotsku.http.strict_json import Body

# A document as JSON has it.
Document = dict[str, Any]

REF = "#/components/schemas/{name}"

ID: Document = {"type": "string", "pattern": ID_PATTERN}
SKU: Document = {"name": "sku", "in": "path", "required": True, "schema": ID}
ORDER_ID: Document = {"name": "order_id", "in": "path", "required": True, "schema": ID}
BUYER_ID: Document = {
    "name": "buyer_id",
    "in": "query",
    "required": False,
    "description": "The buyer that the order was made with.",
    "schema": {"type": "string", "pattern": BUYER_PATTERN},
}
IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The order's id, where the body has none.",
    "schema": {"type": "string"},
}
RETRY_AFTER: Document = {
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
}
ALLOW: Document = {"Allow": {"description": "The methods of the path.", "schema": {"type": "string"}}}


def answer(description: str, kind: type, media: str = "application/json") -> Document:
    """An answer with a struct."""
    return {"description": description, "content": {media: {"schema": ref(kind)}}}


def refusal(description: str) -> Document:
    """An answer with a problem document."""
    return answer(description, Problem, "application/problem+json")


def ref(kind: type) -> Document:
    """The schema of a struct."""
    return {"$ref": REF.format(name=kind.__name__)}


def takes(body: Body[Any]) -> Document:
    """The body of a request."""
    return {"required": not body.optional, "content": {"application/json": {"schema": ref(body.kind)}}}


PENDING: Document = {
    **answer("Nobody knows yet: send the same request again.", PendingAnswer),
    "headers": RETRY_AFTER,
}
TOO_LARGE: Document = refusal("The body is too large.")
NO_ITEM: Document = refusal("No item has the SKU.")


def operation(
    name: str,
    summary: str,
    parameters: Sequence[Document],
    responses: Document,
    *,
    body: Body[Any] | None = None,
    description: str = "",
) -> Document:
    """A route of our own."""
    made: Document = {"summary": summary, "operationId": name, "parameters": [*parameters], "responses": responses}
    if body is not None:
        made["requestBody"] = takes(body)
    return made | ({"description": description} if description else {})

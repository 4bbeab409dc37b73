"""The documents of all routes: what FastAPI knows of the management routes, and the hot routes beside them.

The schemas are those of the structs that are read and sent, so that the documents cannot say anything else.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hotsku.domain.conservation import AuditReport
from hotsku.engine.views import ItemView
from hotsku.http.answers import OrderAnswer, PendingAnswer, Problem
from hotsku.http.bodies import ID_PATTERN, BatchBody, DeductionBody, ItemBody
from hotsku.http.hot_routes import BatchAnswers, Deduct, DeductBatch, HotRoutes, ShowOrder
from hotsku.http.pages import Alive, ItemsPage, Ready, Registry

# A document as JSON has it.
Document = dict[str, Any]

_KINDS = (
    *(Alive, AuditReport, BatchAnswers, BatchBody, DeductionBody, ItemBody, ItemsPage, ItemView),
    *(OrderAnswer, PendingAnswer, Problem, Ready, Registry),
)
_REF = "#/components/schemas/{name}"
_ERRORS = (400, 401, 403, 408, 429, 500, 503)

_SECURITY: Document = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key of the role that the route needs."},
    "key header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_ID: Document = {"type": "string", "pattern": ID_PATTERN}
_RETRY_AFTER: Document = {
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
}


def document(app: FastAPI, hot: HotRoutes, *, keyed: bool) -> Document:
    """The whole document.

    Args:
        hot: the routes that the framework does not know.
        keyed: whether API keys are asked for.
    """
    made = get_openapi(title=app.title, version=app.version, summary=_SUMMARY, routes=app.routes)
    for route in hot.all:
        made["paths"].setdefault(route.path, {})[route.method.lower()] = _HOT[route.path]
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    made["components"] = {"schemas": _schemas()}
    if keyed:
        made["components"]["securitySchemes"] = _SECURITY
        made["security"] = [{name: []} for name in _SECURITY]
        for path in ("/healthz", "/readyz"):
            made["paths"][path]["get"]["security"] = []
    return made


_SUMMARY = "Sells one hot item to very many buyers, every unit exactly once."


# --- what routes say of themselves ---


def answers(kind: type) -> Document:
    """The route answers with a struct."""
    return {"responses": {"200": _response("As asked for.", "application/json", kind)}}


def audits() -> Document:
    """The route answers with an audit, of one item if it is named."""
    return {"responses": answers(AuditReport)["responses"] | {"404": _problem("No item has the SKU.")}}


def readies() -> Document:
    """The route says whether the server can sell."""
    return {
        "responses": answers(Ready)["responses"] | {"503": _response("It cannot.", "application/json", Ready)},
    }


def creates(body: type, kind: type) -> Document:
    """The route makes something of a body."""
    return {
        "requestBody": _body(body),
        "responses": {
            "200": _response("It was there, with the same figures.", "application/json", kind),
            "201": _response("It is new.", "application/json", kind),
            "409": _problem("It is there with other figures."),
            "413": _problem("The body is too large."),
        },
    }


def measures() -> Document:
    """The route answers in the text of Prometheus."""
    text: Document = {"schema": {"type": "string"}}
    return {"responses": {"200": {"description": "The metrics.", "content": {"text/plain": text}}}}


# --- the hot routes ---

_SKU: Document = {"name": "sku", "in": "path", "required": True, "schema": _ID}
_ORDER_ID: Document = {"name": "order_id", "in": "path", "required": True, "schema": _ID}
_BUYER_ID: Document = {
    "name": "buyer_id",
    "in": "query",
    "required": False,
    "description": "The buyer that the order was made with.",
    "schema": {"type": "string", "pattern": ID_PATTERN.replace("{1,", "{0,")},
}
_IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The order's id, where the body has none.",
    "schema": {"type": "string"},
}


def _response(description: str, media: str, kind: type) -> Document:
    return {"description": description, "content": {media: {"schema": _ref(kind)}}}


def _problem(description: str) -> Document:
    return _response(description, "application/problem+json", Problem)


def _ref(kind: type) -> Document:
    return {"$ref": _REF.format(name=kind.__name__)}


def _body(kind: type) -> Document:
    return {"required": True, "content": {"application/json": {"schema": _ref(kind)}}}


_PENDING: Document = {
    **_response("Nobody knows yet: send the same request again.", "application/json", PendingAnswer),
    "headers": _RETRY_AFTER,
}

_HOT: Mapping[str, Document] = {
    Deduct.path: {
        "summary": "Sell to an order",
        "description": "Sells once, however often the order is sent: the same order hears its first answer.",
        "operationId": "deduct",
        "parameters": [_SKU, _IDEMPOTENCY_KEY],
        "requestBody": _body(DeductionBody),
        "responses": {
            "200": _response("The same order again.", "application/json", OrderAnswer),
            "201": _response("Accepted.", "application/json", OrderAnswer),
            "202": _PENDING,
            "404": _problem("No item has the SKU."),
            "409": _problem("No: see `outcome`."),
            "413": _problem("The body is too large."),
            "422": _problem("The order was accepted with another quantity; that stands."),
        },
    },
    DeductBatch.path: {
        "summary": "Sell to many orders",
        "description": "Decides each order for itself. The answers are in the order of the orders.",
        "operationId": "deduct_batch",
        "parameters": [_SKU],
        "requestBody": _body(BatchBody),
        "responses": {
            "200": _response("An outcome each, and how many of each.", "application/json", BatchAnswers),
            "202": _PENDING,
            "404": _problem("No item has the SKU."),
            "413": _problem("The body is too large."),
        },
    },
    ShowOrder.path: {
        "summary": "What became of an order",
        "operationId": "order",
        "parameters": [_SKU, _ORDER_ID, _BUYER_ID],
        "responses": {
            "200": _response("The order was accepted.", "application/json", OrderAnswer),
            "404": _problem("There is no such order or item. An order that has a buyer is found by both."),
        },
    },
}


# --- the parts ---


def _complete(path: str, operation: Document) -> None:
    """Put in what all routes have in common, and take out what the framework says of its own faults."""
    responses: Document = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    for status in _ERRORS:
        responses.setdefault(str(status), _problem(HTTPStatus(status).phrase))
    for passing in ("429", "503"):
        responses[passing].setdefault("headers", _RETRY_AFTER)
    if path.startswith("/v1/items/{sku}"):
        responses.setdefault("404", _problem("No item has the SKU."))
        for parameter in operation["parameters"]:
            if parameter["name"] == "sku":
                parameter["schema"] = _ID


def _schemas() -> Document:
    _, components = msgspec.json.schema_components(_KINDS, ref_template=_REF)
    return components

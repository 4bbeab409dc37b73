"""The documents of all routes: what FastAPI knows of the management routes, and the hot routes beside them.

The schemas are those of the structs that are read and sent, so that the documents cannot say anything else.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from hotsku.domain.conservation import AuditReport
from hotsku.engine.views import ItemView
from hotsku.http.answers import PendingAnswer, Problem
from hotsku.http.batches import BatchAnswers
from hotsku.http.bodies import (
    BATCH,
    BEGIN_PAYMENT,
    CART,
    CONFIRM,
    DEDUCTION,
    EMPTY,
    EXTEND,
    ITEM,
    REFUND,
    RELEASE,
    RESERVATION,
    RESTOCK,
)
from hotsku.http.carts import CartAnswer, CartProblem
from hotsku.http.hot_documents import HOT
from hotsku.http.hot_routes import HotRoutes
from hotsku.http.openapi_parts import (
    ALLOW,
    BUYER_ID,
    ID,
    NO_ITEM,
    PENDING,
    REF,
    RETRY_AFTER,
    TOO_LARGE,
    Document,
    answer,
    operation,
    refusal,
    takes,
)
from hotsku.http.order_answers import OrderAnswer
from hotsku.http.pages import Alive, History, ItemsPage, OrdersPage, Ready, Registry
from hotsku.http.strict_json import Body
from hotsku.managing import StateChange

_BODIES: tuple[Body[Any], ...] = (
    *(BATCH, BEGIN_PAYMENT, CART, CONFIRM, DEDUCTION, EMPTY, EXTEND, ITEM, REFUND, RELEASE, RESERVATION, RESTOCK),
)
_KINDS = (
    *(Alive, AuditReport, BatchAnswers, CartAnswer, CartProblem, History, ItemsPage, ItemView, OrderAnswer, OrdersPage),
    *(PendingAnswer, Problem, Ready, Registry, StateChange, *(body.kind for body in _BODIES)),
)
_ERRORS = (400, 401, 403, 405, 408, 429, 431, 500, 503)
# Who asks for them needs no key.
_OPEN = ("/healthz", "/readyz", "/console", "/docs", "/openapi.json")

_SECURITY: Document = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key of the role that the route needs."},
    "key header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(app: FastAPI, hot: HotRoutes, *, keyed: bool) -> Document:
    """The whole document.

    Args:
        hot: the routes that the framework does not know.
        keyed: whether API keys are asked for.
    """
    made = get_openapi(title=app.title, version=app.version, summary=_SUMMARY, routes=app.routes)
    for each in hot.all:
        made["paths"].setdefault(each.path, {})[each.method.lower()] = HOT[each.path]
    made["paths"] |= _documents()
    for path, operations in made["paths"].items():
        for route in operations.values():
            _complete(path, route)
    made["components"] = {"schemas": _schemas()}
    if keyed:
        made["components"]["securitySchemes"] = _SECURITY
        made["security"] = [{name: []} for name in _SECURITY]
        for path in _OPEN:
            made["paths"][path]["get"]["security"] = []
    return made


_SUMMARY = "Sells one hot item to very many buyers, every unit exactly once."


# --- what routes say of themselves ---


def answers(kind: type) -> Document:
    """The route answers with a struct."""
    return {"responses": {"200": answer("As asked for.", kind)}}


def audits() -> Document:
    """The route answers with an audit, of one item if it is named."""
    return {"responses": answers(AuditReport)["responses"] | {"404": NO_ITEM}}


def readies() -> Document:
    """The route says whether the server can sell."""
    return {"responses": answers(Ready)["responses"] | {"503": answer("It cannot.", Ready)}}


def creates(body: Body[Any], kind: type) -> Document:
    """The route makes something of a body."""
    return {
        "requestBody": takes(body),
        "responses": {
            "200": answer("It was there, with the same figures.", kind),
            "201": answer("It is new.", kind),
            "202": PENDING,
            "409": refusal("It is there with other figures."),
        },
    }


def changes(body: Body[Any], kind: type, **refusals: str) -> Document:
    """The route changes something, as a body says.

    Args:
        refusals: statuses ("s409") and what they mean.
    """
    others = {status.removeprefix("s"): refusal(words) for status, words in refusals.items()}
    return {
        "requestBody": takes(body),
        "responses": answers(kind)["responses"] | {"202": PENDING} | others,
    }


def tells_of_an_order(kind: type) -> Document:
    """The route answers about an order and its buyer."""
    missing = refusal("There is no such order or item. An order that has a buyer is found by both.")
    return {"responses": answers(kind)["responses"] | {"404": missing}}


def measures() -> Document:
    """The route answers in the text of Prometheus."""
    return _text("The metrics.", "text/plain")


def shows_a_page() -> Document:
    """The route answers with a page for people."""
    return _text("The page.", "text/html")


def _text(description: str, media: str) -> Document:
    return {"responses": {"200": {"description": description, "content": {media: {"schema": {"type": "string"}}}}}}


# --- the parts ---


def _documents() -> Document:
    """The routes of the documents themselves, which the framework leaves out."""
    whole = {"description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "/docs": {"get": operation("docs", "This document as a page", [], shows_a_page()["responses"])},
        "/openapi.json": {"get": operation("openapi", "This document", [], {"200": whole})},
    }


def _complete(path: str, route: Document) -> None:
    """Put in what all routes have in common, and take out what the framework says of its own faults."""
    responses: Document = route["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]["content"]["application/json"]
        if not responses["422"]["content"]:
            del responses["422"]
    for status in _ERRORS:
        responses.setdefault(str(status), refusal(HTTPStatus(status).phrase))
    for passing in ("429", "503"):
        responses[passing].setdefault("headers", RETRY_AFTER)
    responses["405"]["headers"] = ALLOW
    responses["413"] = TOO_LARGE  # also where the route reads no body: one may come all the same
    if path.startswith("/v1/items/{sku}"):
        responses.setdefault("404", NO_ITEM)
    for parameter in route.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["schema"] = ID
        elif parameter["name"] == "buyer_id":
            parameter["schema"] = BUYER_ID["schema"]


def _schemas() -> Document:
    _, components = msgspec.json.schema_components(_KINDS, ref_template=REF)
    return components

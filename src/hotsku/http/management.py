"""The management routes, on FastAPI: items, partitions, the audit, health, metrics and the documents of all routes."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Match

from hotsku import __version__
from hotsku.engine.inventory import Inventory
from hotsku.errors import HotSKUError, InvalidRequest
from hotsku.http import openapi
from hotsku.http.answers import Answer, failed, problem
from hotsku.http.change_routes import change_routes
from hotsku.http.health_routes import Metrics, Readiness, health_routes
from hotsku.http.hot_routes import HotRoutes
from hotsku.http.item_routes import item_routes
from hotsku.http.managing import QUERY_WORDS, response
from hotsku.http.order_routes import order_routes
from hotsku.http.shard_numbers import ShardNumbers

# The gateway tells of its requests itself.
_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def management(
    stock: Inventory,
    hot: HotRoutes,
    *,
    metrics: Metrics,
    readiness: Readiness,
    numbers: ShardNumbers,
    keyed: bool,
) -> FastAPI:
    """The application.

    Args:
        hot: the routes that are served beside it; its documents show them, too.
        metrics: for an Accept header, the content type and the text of the metrics.
        readiness: each back end's name, and "ok" or what is wrong with it.
        numbers: what the shards are called here.
        keyed: whether API keys are asked for.
    """
    # The documents' page brings its scripts along: it asks no other host for them.
    app = FastAPIOffline(
        redoc_url=None, title="HotSKU", version=__version__, redirect_slashes=False, telemetry=_NO_TELEMETRY
    )
    _answer_faults(app)
    item_routes(app, stock, numbers)
    change_routes(app, stock)
    order_routes(app, stock)
    health_routes(app, metrics, readiness)
    document: list[dict[str, Any]] = []

    def openapi_() -> dict[str, Any]:
        if not document:
            document.append(openapi.document(app, hot, keyed=keyed))
        return document[0]

    app.openapi = openapi_  # type: ignore[method-assign]  # how FastAPI wants it extended
    return app


# --- faults ---


def _answer_faults(app: FastAPI) -> None:
    @app.exception_handler(HotSKUError)
    async def hotsku_error(_: Request, error: Exception) -> Response:
        return response(failed(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        return response(failed(_named(error)))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: Exception) -> Response:
        return response(_of_http(error, request))

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        return response(failed(error))


def _named(error: Exception) -> Exception:
    """A fault of the framework's own check, as one of ours that names the field."""
    if not isinstance(error, RequestValidationError):
        return error
    first = error.errors()[0]
    field = ascii(str(first["loc"][-1]))[1:-1][:64]
    return InvalidRequest(field, QUERY_WORDS.get(field) or str(first["msg"]).removeprefix("Input should be "))


def _of_http(error: Exception, request: Request) -> Answer:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return problem(404, "not_found", "there is no such route", field="path")
    if status == 405:
        allow = ", ".join(_methods(request))
        headers = ((b"allow", allow.encode()),)
        return problem(405, "method_not_allowed", f"method must be {allow}", field="method", headers=headers)
    return problem(status, "invalid_request", "the request is not valid")


def _methods(request: Request) -> list[str]:
    """Those of the path: the framework names those of one of its routes alone."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)

"""The management routes, on FastAPI: items, partitions, the audit, health, metrics and the documents of all routes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from hotsku import __version__
from hotsku.engine.inventory import Inventory
from hotsku.engine.views import ItemView
from hotsku.errors import HotSKUError, IdempotencyConflict, InvalidRequest, UnknownItem
from hotsku.http import openapi
from hotsku.http.answers import JSON, Answer, encode, failed, problem
from hotsku.http.bodies import ID_PATTERN, ITEM, MAX_BODY, ItemBody
from hotsku.http.hot_routes import HotRoutes
from hotsku.http.pages import Alive, ItemsPage, Ready, Registry

Metrics = Callable[[str], Awaitable[tuple[str, bytes]]]
Readiness = Callable[[], Awaitable[Mapping[str, str]]]


def management(stock: Inventory, hot: HotRoutes, metrics: Metrics, readiness: Readiness, *, keyed: bool) -> FastAPI:
    """The application.

    Args:
        hot: the routes that are served beside it; its documents show them, too.
        metrics: for an Accept header, the content type and the text of the metrics.
        readiness: each back end's name, and "ok" or what is wrong with it.
        keyed: whether API keys are asked for.
    """
    # The documents' page brings its scripts along: it asks no other host for them.
    app = FastAPIOffline(redoc_url=None, title="HotSKU", version=__version__, redirect_slashes=False)
    _answer_faults(app)
    _item_routes(app, stock)
    _health_routes(app, metrics, readiness)
    document: list[dict[str, Any]] = []

    def openapi_() -> dict[str, Any]:
        if not document:
            document.append(openapi.document(app, hot, keyed=keyed))
        return document[0]

    app.openapi = openapi_  # type: ignore[method-assign]  # how FastAPI wants it extended
    return app


def _item_routes(app: FastAPI, stock: Inventory) -> None:
    @app.get(
        "/v1/items",
        summary="Items by SKU",
        dependencies=[_only("limit", "after")],
        openapi_extra=openapi.answers(ItemsPage),
    )
    async def items(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        views = await stock.items(after, limit)
        return _ok(encode(ItemsPage(views, views[-1].sku if len(views) == limit else None)))

    @app.post(
        "/v1/items",
        summary="Put an item on sale",
        dependencies=[_only()],
        openapi_extra=openapi.creates(ItemBody, ItemView),
    )
    async def create_item(body: Annotated[ItemBody, Depends(_item_body)]) -> Response:
        status = 200 if await _exists(stock, body.sku) else 201
        try:
            view = await _create(stock, body)
        except IdempotencyConflict as error:
            return _response(problem(409, "conflict", str(error), field="sku"))
        return Response(encode(view), status, media_type=JSON.decode())

    @app.get(
        "/v1/items/{sku}",
        summary="An item and its figures",
        dependencies=[_only()],
        openapi_extra=openapi.answers(ItemView),
    )
    async def item(sku: str) -> Response:
        return _ok(encode(await stock.item(sku)))

    @app.get(
        "/v1/items/{sku}/partitions",
        summary="The registry",
        dependencies=[_only()],
        openapi_extra=openapi.answers(Registry),
    )
    async def partitions(sku: str) -> Response:
        return _ok(encode(Registry(sku, await stock.partitions(sku))))

    @app.get(
        "/v1/audit",
        summary="Every equation of conservation",
        dependencies=[_only("sku")],
        openapi_extra=openapi.audits(),
    )
    async def audit(sku: Annotated[str | None, Query(pattern=ID_PATTERN)] = None) -> Response:
        return _ok(encode(await stock.audit(sku)))


def _health_routes(app: FastAPI, metrics: Metrics, readiness: Readiness) -> None:
    @app.get("/healthz", summary="Does it live?", dependencies=[_only()], openapi_extra=openapi.answers(Alive))
    async def healthz() -> Response:
        return _ok(encode(Alive()))

    @app.get("/readyz", summary="Can it sell?", dependencies=[_only()], openapi_extra=openapi.readies())
    async def readyz() -> Response:
        back_ends = dict(await readiness())
        ready = all(state == "ok" for state in back_ends.values())
        return Response(encode(Ready(ready, back_ends)), 200 if ready else 503, media_type=JSON.decode())

    @app.get("/metrics", summary="For Prometheus", dependencies=[_only()], openapi_extra=openapi.measures())
    async def metrics_(request: Request) -> Response:
        media, text = await metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media})


def _only(*names: str) -> params.Depends:
    """The query may have these names, each once."""

    def check(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            if name not in names:
                raise InvalidRequest(ascii(name)[1:-1][:64], "left out: the query has no such name")
            if given.count(name) > 1:
                raise InvalidRequest(name, "there once")

    return params.Depends(check)


async def _item_body(request: Request) -> ItemBody:
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise HTTPException(413, f"body must be at most {MAX_BODY} bytes")
        parts.append(part)
    return ITEM.read(b"".join(parts))


async def _exists(stock: Inventory, sku: str) -> bool:
    try:
        await stock.item(sku)
    except UnknownItem:
        return False
    return True


async def _create(stock: Inventory, body: ItemBody) -> ItemView:
    return await stock.create_item(
        body.sku,
        body.total,
        partitions=body.partitions,
        limit_per_buyer=body.limit_per_buyer,
        opens_at=body.opens_at,
        closes_at=body.closes_at,
        hold_ttl=body.hold_ttl,
        routing=body.routing,
        refund_restores_limit=body.refund_restores_limit,
    )


# --- faults ---


def _answer_faults(app: FastAPI) -> None:
    @app.exception_handler(HotSKUError)
    async def hotsku_error(_: Request, error: Exception) -> Response:
        return _response(failed(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        return _response(failed(_named(error)))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: Exception) -> Response:
        return _response(_of_http(error))

    @app.exception_handler(Exception)
    async def bug(_: Request, error: Exception) -> Response:
        return _response(failed(error))


def _named(error: Exception) -> Exception:
    """A fault of the framework's own check, as one of ours that names the field."""
    if not isinstance(error, RequestValidationError):
        return error
    first = error.errors()[0]
    field = ascii(str(first["loc"][-1]))[1:-1][:64]
    return InvalidRequest(field, str(first["msg"]).removeprefix("Input should be "))


def _of_http(error: Exception) -> Answer:
    status = error.status_code if isinstance(error, HTTPException) else 500
    allow = (getattr(error, "headers", None) or {}).get("Allow", "")
    if status == 404:
        return problem(404, "not_found", "there is no such route", field="path")
    if status == 405:
        headers = ((b"allow", allow.encode()),)
        return problem(405, "method_not_allowed", f"method must be {allow}", field="method", headers=headers)
    if status == 413:
        return problem(413, "too_large", f"body must be at most {MAX_BODY} bytes", field="body")
    return problem(status, "invalid_request", "the request is not valid")


def _ok(body: bytes) -> Response:
    return Response(body, media_type=JSON.decode())


def _response(answer: Answer) -> Response:
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers | {"content-type": answer.media.decode()})

"""The management routes of items: what is on sale, how it stands, where its units are."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from hotsku.engine.inventory import Inventory
from hotsku.engine.views import ItemView
from hotsku.errors import IdempotencyConflict
from hotsku.http import openapi
from hotsku.http.answers import problem
from hotsku.http.bodies import BUYER_PATTERN, ID_PATTERN, ITEM, ItemBody, read_item
from hotsku.http.managing import DIGITS, MAX_PAGE, only, response, told
from hotsku.http.pages import ItemsPage, Registry
from hotsku.http.shard_numbers import ShardNumbers


def item_routes(app: FastAPI, stock: Inventory, numbers: ShardNumbers) -> None:
    """Add them."""

    @app.get(
        "/v1/items",
        summary="Items by SKU",
        dependencies=[only("limit", "after")],
        openapi_extra=openapi.answers(ItemsPage),
    )
    async def items(
        limit: Annotated[int, DIGITS, Query(ge=1, le=MAX_PAGE)] = 100,
        after: Annotated[str | None, Query(pattern=BUYER_PATTERN)] = None,
    ) -> Response:
        views = await stock.items(after, limit)
        return told(ItemsPage(views, views[-1].sku if len(views) == limit else None))

    @app.post(
        "/v1/items",
        summary="Put an item on sale",
        dependencies=[only()],
        openapi_extra=openapi.creates(ITEM, ItemView),
    )
    async def create_item(request: Request) -> Response:
        body = read_item(await request.body())
        try:
            view, new = await _create(stock, body)
        except IdempotencyConflict as error:
            return response(problem(409, "conflict", str(error), field="sku"))
        return told(view, 201 if new else 200)

    @app.get(
        "/v1/items/{sku}",
        summary="An item and its figures",
        dependencies=[only()],
        openapi_extra=openapi.answers(ItemView),
    )
    async def item(sku: str) -> Response:
        return told(await stock.item(sku))

    @app.get(
        "/v1/items/{sku}/partitions",
        summary="The registry",
        dependencies=[only()],
        openapi_extra=openapi.answers(Registry),
    )
    async def partitions(sku: str) -> Response:
        return told(Registry(sku, numbers.in_place_of_names(await stock.partitions(sku))))

    @app.get(
        "/v1/audit",
        summary="Every equation of conservation",
        dependencies=[only("sku")],
        openapi_extra=openapi.audits(),
    )
    async def audit(sku: Annotated[str | None, Query(pattern=ID_PATTERN)] = None) -> Response:
        return told(await stock.audit(sku))


async def _create(stock: Inventory, body: ItemBody) -> tuple[ItemView, bool]:
    return await stock.put_on_sale(
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

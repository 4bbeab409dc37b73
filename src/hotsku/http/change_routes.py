"""The management routes that change an item while it sells: pause, resume, close, restock."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from hotsku.engine.inventory import Inventory
from hotsku.engine.views import ItemView
from hotsku.http import openapi
from hotsku.http.bodies import EMPTY, RESTOCK
from hotsku.http.managing import only, read, told
from hotsku.managing import StateChange


def change_routes(app: FastAPI, stock: Inventory) -> None:
    """Add them."""

    @app.post(
        "/v1/items/{sku}/restock",
        summary="Add units to an item, or take some away",
        dependencies=[only()],
        openapi_extra=openapi.changes(RESTOCK, ItemView, s422="The id came before with another quantity."),
    )
    async def restock(sku: str, request: Request) -> Response:
        body = await read(RESTOCK, request)
        return told(await stock.restock(sku, body.quantity, body.adjustment_id))

    _state_route(app, "pause", "Sell nothing more until it is resumed", stock.pause)
    _state_route(app, "resume", "Sell a paused item again", stock.resume)
    _state_route(app, "close", "End an item's sale for good", stock.close_item)


def _state_route(app: FastAPI, word: str, summary: str, change: Callable[[str], Awaitable[StateChange]]) -> None:
    @app.post(
        f"/v1/items/{{sku}}/{word}",
        name=word,
        summary=summary,
        dependencies=[only()],
        openapi_extra=openapi.changes(EMPTY, StateChange),
    )
    async def route(sku: str, request: Request) -> Response:
        await read(EMPTY, request)
        return told(await change(sku))

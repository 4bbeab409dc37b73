"""The management routes of orders: lists, and what one went through. Both are the ledger's, which follows a sale."""

from datetime import timedelta
from typing import Annotated

from fastapi import FastAPI, Query, Response

from hotsku.domain.deduction import OrderState
from hotsku.engine.inventory import Inventory
from hotsku.http import openapi
from hotsku.http.answers import problem
from hotsku.http.bodies import BUYER_PATTERN
from hotsku.http.managing import DIGITS, MAX_AGE_S, MAX_PAGE, only, response, told
from hotsku.http.order_answers import order_answer
from hotsku.http.orders_after import order_at, place_of
from hotsku.http.pages import History, OrdersPage


def order_routes(app: FastAPI, stock: Inventory) -> None:
    """Add them."""

    @app.get(
        "/v1/items/{sku}/orders",
        summary="Orders as the ledger has them",
        dependencies=[only("state", "older_than_s", "after", "limit")],
        openapi_extra=openapi.answers(OrdersPage),
    )
    async def orders(
        sku: str,
        state: OrderState | None = None,
        older_than_s: Annotated[int | None, DIGITS, Query(ge=0, le=MAX_AGE_S)] = None,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, DIGITS, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> Response:
        older_than = None if older_than_s is None else timedelta(seconds=older_than_s)
        found = await stock.orders(sku, state=state, older_than=older_than, after=order_at(sku, after), limit=limit)
        following = place_of(found[-1]) if len(found) == limit else None
        return told(OrdersPage([order_answer(order) for order in found], following))

    @app.get(
        "/v1/items/{sku}/orders/{order_id}/history",
        summary="What happened to an order",
        dependencies=[only("buyer_id")],
        openapi_extra=openapi.tells_of_an_order(History),
    )
    async def history(sku: str, order_id: str, buyer_id: Annotated[str, Query(pattern=BUYER_PATTERN)] = "") -> Response:
        events = await stock.order_history(sku, order_id, buyer_id)
        if events:
            return told(History(sku, order_id, buyer_id, events))
        hint = "" if buyer_id else "; if it was made with a buyer_id, name it"
        detail = f"the ledger has no such order, or not yet{hint}"
        return response(problem(404, "not_found", detail, field="order_id" if buyer_id else "buyer_id"))

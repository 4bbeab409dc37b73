"""A shop on FastAPI that sells with the engine in its own process: reserve, pay, confirm.

    uvicorn --app-dir examples/fastapi_shop app:app

    curl -X POST localhost:8000/orders -d '{"order_id": "o-1", "buyer_id": "u-7"}' -H 'content-type: application/json'
    curl -X POST localhost:8000/orders/o-1/payment -d '{"buyer_id": "u-7"}' -H 'content-type: application/json'

The stack is the embedded folder ./.hotsku unless HOTSKU_SHARD_URL and HOTSKU_LEDGER_URL name another. Every request may
be repeated: the order's id makes it the same one.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import hotsku
from hotsku import Deduction, Inventory, Outcome

SKU = os.environ.get("SKU", "sneaker-42")
TOTAL = int(os.environ.get("TOTAL", "100"))
TIME_TO_PAY = timedelta(minutes=10)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with hotsku.connect() as stock:
        await stock.create_item(SKU, TOTAL, limit_per_buyer=2)  # the same again is the same item
        app.state.stock = stock
        yield


app = FastAPI(title="A shop", lifespan=lifespan)


def stock_of(request: Request) -> Inventory:
    stock: Inventory = request.app.state.stock
    return stock


Stock = Annotated[Inventory, Depends(stock_of)]


class Order(BaseModel):
    order_id: str = Field(min_length=1, max_length=64)
    buyer_id: str = Field(min_length=1, max_length=64)
    quantity: int = 1


class Buyer(BaseModel):
    buyer_id: str


@app.post("/orders", status_code=201)
async def reserve(order: Order, stock: Stock) -> dict[str, object]:
    """Hold the units; the buyer has ten minutes to pay."""
    held = await stock.reserve(SKU, order.quantity, order_id=order.order_id, buyer_id=order.buyer_id, ttl=TIME_TO_PAY)
    if held.state is None:  # sold out, or over the buyer's limit: said in the answer, not raised
        raise HTTPException(409, {"outcome": held.outcome, "available": held.available})
    return told(held)


@app.post("/orders/{order_id}/payment")
async def pay(order_id: str, buyer: Buyer, stock: Stock) -> dict[str, object]:
    """Charge the buyer, and sell for good. A payment that came too late is given back."""
    buyer_id = buyer.buyer_id
    begun = await stock.begin_payment(SKU, order_id=order_id, buyer_id=buyer_id)  # the hold lasts, even past a close
    if begun.outcome not in (Outcome.HELD, Outcome.CONFIRMED):
        raise refusal(begun)
    payment_ref = charge(order_id, begun.quantity)
    sold = await stock.confirm(SKU, order_id=order_id, buyer_id=buyer_id, payment_ref=payment_ref)
    if sold.refund_payment_ref is not None:
        give_back(sold.refund_payment_ref)
    if sold.outcome is not Outcome.CONFIRMED:
        raise refusal(sold)
    return told(sold)


@app.delete("/orders/{order_id}")
async def cancel(order_id: str, buyer_id: str, stock: Stock) -> dict[str, object]:
    """Give back what the order holds."""
    released = await stock.release(SKU, order_id=order_id, buyer_id=buyer_id)
    if released.outcome is not Outcome.RELEASED:  # there is no such order, or it is paid, or its time was over
        raise refusal(released)
    return told(released)


@app.get("/stock")
async def available(stock: Stock) -> dict[str, int]:
    return {"available": (await stock.item(SKU)).available}


@app.exception_handler(hotsku.InvalidRequest)
async def invalid(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


@app.exception_handler(hotsku.IdempotencyConflict)
async def conflict(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


@app.exception_handler(hotsku.HotSKUError)
async def try_again(_: Request, error: Exception) -> JSONResponse:
    """Overloaded, a back end away, or nobody knows: the same request again is safe, and finds out."""
    return JSONResponse({"detail": str(error)}, 503, {"retry-after": "1"})


def told(order: Deduction) -> dict[str, object]:
    return {"outcome": order.outcome, "state": order.state, "expires_at": order.expires_at, "receipt": order.receipt}


def refusal(order: Deduction) -> HTTPException:
    return HTTPException(404 if order.outcome is Outcome.NOT_FOUND else 409, {"outcome": order.outcome})


def charge(order_id: str, quantity: int) -> str:
    """Ask your payment provider here, with the order's id as its idempotency key; returns the payment's reference."""
    return f"pay-{order_id}-{quantity}"


def give_back(payment_ref: str) -> None:
    """Tell your payment provider to give it back."""

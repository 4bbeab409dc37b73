"""Requests that wait, without an engine around them."""

import asyncio

from hotsku.domain.deduction import Deduction
from hotsku.engine.request import Request

# A future needs a loop to belong to, even where nobody awaits it.
_NO_LOOP = asyncio.new_event_loop()
_NO_LOOP.close()


def request(order_id: str, quantity: int, since_ms: float = 0.0) -> Request:
    """An order that came at `since_ms`."""
    future: asyncio.Future[Deduction] = asyncio.Future(loop=_NO_LOOP)
    return Request(order_id, "", future, since_ms, 0, quantity)


def leave(order: Request) -> None:
    """Its caller goes away."""
    assert isinstance(order.future, asyncio.Future)
    order.future.cancel()

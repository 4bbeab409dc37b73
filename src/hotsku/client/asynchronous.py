"""The client on asyncio: carries out operations, and decides nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from hotsku.client.operations import Operations
from hotsku.client.transport import Gateway, broken, make_terms, replied
from hotsku.client.wire import Broken, Heard, Operation, Pause, Reply, Send

P = ParamSpec("P")
R = TypeVar("R")


def _asynchronous(
    method: Callable[Concatenate[Operations, P], Operation[R]],
) -> "Callable[Concatenate[Client, P], Coroutine[object, object, R]]":
    async def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.carry_out(method(self.operations, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class Client:
    """A gateway's client on asyncio. Use it as an async context manager; any number of calls may be under way.

    Args:
        url: where the gateway is, as "https://stock.example.com".
        api_key: of the role that the calls need.
        budget_s: seconds for a call, with everything that it has to send again.
        attempt_s: seconds for one attempt; longer than the gateway takes (its `http_deadline_ms`).
        settle_s: seconds after which an attempt that was lost cannot sell any more (the gateway's
            `http_deadline_ms`): until then a no is not told, for the lost attempt may sell after it.
        http: an httpx client of your own, for TLS, proxies and limits. By default one is made, and closed at the end.

    Raises:
        InvalidRequest: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        budget_s: float = 30.0,
        attempt_s: float = 12.0,
        settle_s: float = 10.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._gateway = Gateway(url, api_key)
        self.operations = Operations(make_terms(budget_s, attempt_s, settle_s))
        self._http = http or httpx.AsyncClient()
        self._own = http is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; those of an httpx client of your own stay open."""
        if self._own:
            await self._http.aclose()

    async def carry_out(self, operation: Operation[R]) -> R:
        """Do what an operation asks for, until it returns."""
        heard: Heard = None
        while True:
            try:
                act = operation.send(heard)
            except StopIteration as ended:
                result: R = ended.value
                return result
            if isinstance(act, Pause):
                await asyncio.sleep(act.seconds)
                heard = None
            else:
                heard = await self._send(act)

    async def _send(self, act: Send) -> Reply | Broken:
        request = self._gateway.request(act, self._http)
        # Of a client that somebody else made, nobody knows whether it tells.
        sent = not self._own

        async def note(event: str, _: object) -> None:
            nonlocal sent
            sent = sent or event.endswith("send_request_headers.started")

        request.extensions["trace"] = note
        try:
            async with asyncio.timeout(act.timeout_s):
                return replied(await self._http.send(request, follow_redirects=False))
        except TimeoutError as error:
            return broken(error, sent=sent)
        except httpx.RequestError as error:
            return broken(error)

    deduct = _asynchronous(Operations.deduct)
    deduct_many = _asynchronous(Operations.deduct_many)
    reserve = _asynchronous(Operations.reserve)
    begin_payment = _asynchronous(Operations.begin_payment)
    confirm = _asynchronous(Operations.confirm)
    release = _asynchronous(Operations.release)
    extend = _asynchronous(Operations.extend)
    refund = _asynchronous(Operations.refund)
    order = _asynchronous(Operations.order)
    orders = _asynchronous(Operations.orders)
    order_history = _asynchronous(Operations.order_history)
    reserve_cart = _asynchronous(Operations.reserve_cart)
    confirm_cart = _asynchronous(Operations.confirm_cart)
    release_cart = _asynchronous(Operations.release_cart)
    create_item = _asynchronous(Operations.create_item)
    restock = _asynchronous(Operations.restock)
    pause = _asynchronous(Operations.pause)
    resume = _asynchronous(Operations.resume)
    close_item = _asynchronous(Operations.close_item)
    item = _asynchronous(Operations.item)
    items = _asynchronous(Operations.items)
    partitions = _asynchronous(Operations.partitions)
    audit = _asynchronous(Operations.audit)

"""The client for threads: carries out operations, and decides nothing."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from hotsku.client import deadline
from hotsku.client.operations import Operations
from hotsku.client.transport import Gateway, broken, make_terms, replied
from hotsku.client.wire import Broken, Heard, Operation, Pause, Reply, Send

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[Operations, P], Operation[R]],
) -> "Callable[Concatenate[BlockingClient, P], R]":
    def call(self: "BlockingClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.carry_out(method(self.operations, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class BlockingClient:
    """The same for threads; any number of them may use one at once. Arguments are those of `Client`, but that `http` is
    an `httpx.Client`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        budget_s: float = 30.0,
        attempt_s: float = 12.0,
        settle_s: float = 10.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._gateway = Gateway(url, api_key)
        self.operations = Operations(make_terms(budget_s, attempt_s, settle_s))
        self._http = http or httpx.Client()
        self._own = http is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; those of an httpx client of your own stay open."""
        if self._own:
            self._http.close()

    def carry_out(self, operation: Operation[R]) -> R:
        """Do what an operation asks for, until it returns."""
        heard: Heard = None
        while True:
            try:
                act = operation.send(heard)
            except StopIteration as ended:
                result: R = ended.value
                return result
            if isinstance(act, Pause):
                time.sleep(act.seconds)
                heard = None
            else:
                heard = self._send(act)

    def _send(self, act: Send) -> Reply | Broken:
        request = self._gateway.request(act, self._http)
        request.extensions["trace"] = deadline.note
        try:
            with deadline.attempt(act.timeout_s, self.operations.terms.now_s):
                return replied(self._http.send(request, follow_redirects=False))
        except httpx.RequestError as error:
            return broken(error)

    deduct = _blocking(Operations.deduct)
    deduct_many = _blocking(Operations.deduct_many)
    reserve = _blocking(Operations.reserve)
    begin_payment = _blocking(Operations.begin_payment)
    confirm = _blocking(Operations.confirm)
    release = _blocking(Operations.release)
    extend = _blocking(Operations.extend)
    refund = _blocking(Operations.refund)
    order = _blocking(Operations.order)
    orders = _blocking(Operations.orders)
    order_history = _blocking(Operations.order_history)
    reserve_cart = _blocking(Operations.reserve_cart)
    confirm_cart = _blocking(Operations.confirm_cart)
    release_cart = _blocking(Operations.release_cart)
    create_item = _blocking(Operations.create_item)
    restock = _blocking(Operations.restock)
    pause = _blocking(Operations.pause)
    resume = _blocking(Operations.resume)
    close_item = _blocking(Operations.close_item)
    item = _blocking(Operations.item)
    items = _blocking(Operations.items)
    partitions = _blocking(Operations.partitions)
    audit = _blocking(Operations.audit)

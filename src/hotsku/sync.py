"""The blocking twin of the inventory, for threads: the same methods, and the same coalescing across threads.

    with hotsku.sync.connect() as stock:
        stock.deduct("sneaker-42", 1, order_id="o-1", buyer_id="u-7")

Every method is the asynchronous one, run on an event loop in a thread of its own; nothing is written twice.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import uvloop

from hotsku import app
from hotsku.engine.inventory import Inventory
from hotsku.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

_AsyncMethod = Callable[Concatenate[Inventory, P], Coroutine[object, object, R]]


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hotsku", daemon=True)
        self._thread.start()

    def wait_for(self, work: Coroutine[object, object, R]) -> R:
        """Run a coroutine on the loop and wait for what it returns. From any thread but the loop's own."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # a Ctrl-C in this thread must not leave the call running for nobody
            raise

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _blocking(method: _AsyncMethod[P, R]) -> "Callable[Concatenate[BlockingInventory, P], R]":
    def call(self: "BlockingInventory", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._thread.wait_for(method(self._inventory, *args, **kwargs))

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class BlockingInventory:
    """An `Inventory` whose methods block. Any number of threads may use one at once. Made by `connect`."""

    def __init__(self, inventory: Inventory, thread: _LoopThread) -> None:
        self._inventory = inventory
        self._thread = thread

    create_item = _blocking(Inventory.create_item)
    item = _blocking(Inventory.item)
    items = _blocking(Inventory.items)
    partitions = _blocking(Inventory.partitions)
    deduct = _blocking(Inventory.deduct)
    deduct_many = _blocking(Inventory.deduct_many)
    order = _blocking(Inventory.order)
    audit = _blocking(Inventory.audit)


@contextmanager
def connect(
    settings: Settings | None = None,
    *,
    workers: bool | None = None,
    config: Path | None = None,
    **arguments: object,
) -> Iterator[BlockingInventory]:
    """Open an inventory; arguments and errors are those of `hotsku.connect`."""
    thread = _LoopThread()
    try:
        context = app.connect(settings, workers=workers, config=config, **arguments)
        inventory = thread.wait_for(context.__aenter__())
        try:
            yield BlockingInventory(inventory, thread)
        finally:
            thread.wait_for(context.__aexit__(None, None, None))
    finally:
        thread.stop()

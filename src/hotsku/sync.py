"""The blocking twin of the inventory, for threads: the same methods, and the same coalescing across threads.

    with hotsku.sync.connect() as stock:
        stock.deduct("sneaker-42", 1, order_id="o-1", buyer_id="u-7")

Every method is the asynchronous one, run on an event loop in a thread of its own; nothing is written twice.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import uvloop

from hotsku import app
from hotsku.engine.inventory import Inventory
from hotsku.errors import BackendUnavailable, OutcomeUnknown
from hotsku.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

# For whatever was interrupted and has to clean up after itself.
_GRACE_S = 10.0

_AsyncMethod = Callable[Concatenate[Inventory, P], Coroutine[object, object, R]]


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hotsku", daemon=True)
        self._thread.start()

    def wait_for(self, work: Coroutine[object, object, R]) -> R:
        """Run a coroutine on the loop and wait for what it returns. From any thread but the loop's own.

        Raises:
            BackendUnavailable: the loop has ended.
            OutcomeUnknown: it ended under this call.
        """
        future = self.start(work)
        try:
            return future.result()
        except CancelledError:
            raise OutcomeUnknown("the inventory was closed under this call; the same call again is safe") from None
        except BaseException:
            future.cancel()  # a Ctrl-C in this thread must not leave the call running for nobody
            raise

    def start(self, work: Coroutine[object, object, R]) -> "Future[R]":
        """Run a coroutine on the loop."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise BackendUnavailable("the inventory is closed") from None

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """End the loop; what still runs on it (a start that was interrupted cleans up) is given some time."""
        asyncio.run_coroutine_threadsafe(_end_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_others() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, running = await asyncio.wait(others, timeout=_GRACE_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


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
    reserve = _blocking(Inventory.reserve)
    begin_payment = _blocking(Inventory.begin_payment)
    confirm = _blocking(Inventory.confirm)
    release = _blocking(Inventory.release)
    extend = _blocking(Inventory.extend)
    refund = _blocking(Inventory.refund)
    order = _blocking(Inventory.order)
    orders = _blocking(Inventory.orders)
    order_history = _blocking(Inventory.order_history)
    reserve_cart = _blocking(Inventory.reserve_cart)
    confirm_cart = _blocking(Inventory.confirm_cart)
    release_cart = _blocking(Inventory.release_cart)
    pause = _blocking(Inventory.pause)
    resume = _blocking(Inventory.resume)
    close_item = _blocking(Inventory.close_item)
    restock = _blocking(Inventory.restock)
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
    ready: Future[Inventory] = Future()
    leave = asyncio.Event()
    try:
        stay = thread.start(_stay(app.connect(settings, workers=workers, config=config, **arguments), ready, leave))
        try:
            inventory = ready.result()
            try:
                yield BlockingInventory(inventory, thread)
            finally:
                thread.call(leave.set)
                stay.result()
        except BaseException:
            stay.cancel()  # a Ctrl-C while it opens or closes: it cleans up, and `stop` waits for that
            raise
    finally:
        thread.stop()


async def _stay(
    context: AbstractAsyncContextManager[Inventory], ready: "Future[Inventory]", leave: asyncio.Event
) -> None:
    """Be in the context until it is time to leave: one task, so that it may be cancelled at any point."""
    try:
        async with context as inventory:
            ready.set_result(inventory)
            await leave.wait()
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)

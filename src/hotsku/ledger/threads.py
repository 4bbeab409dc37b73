"""Keeps SQL off the event loop: a few threads that read, and one that writes, the most urgent first."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from itertools import count
from queue import PriorityQueue
from typing import TypeVar

from hotsku.errors import BackendUnavailable

T = TypeVar("T")


class Urgency(IntEnum):
    """Waiting leases go before everything else: buyers stand behind them."""

    LEASE = 0
    CHANGE = 1
    APPLY = 2


class Threads:
    """The threads of one ledger. Any event loop and any thread may call."""

    def __init__(self, readers: int) -> None:
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="hotsku-ledger-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hotsku-ledger-write")
        self._waiting: PriorityQueue[tuple[Urgency, int, Callable[[], None]]] = PriorityQueue()
        self._arrival = count()

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work` on a reading thread."""
        return await asyncio.wrap_future(_submit(self._readers, work))

    async def write(self, urgency: Urgency, work: Callable[[], T]) -> T:
        """Run `work` on the writing thread, after what is more urgent and what came before it."""
        answer: Future[T] = Future()
        self._waiting.put((urgency, next(self._arrival), lambda: _settle(answer, work)))
        _submit(self._writer, self._run_next)
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        self._writer.shutdown()
        self._readers.shutdown()

    def _run_next(self) -> None:
        # Every call of `write` submits one of these, so there is always one to take: not its own, but the most urgent.
        _, _, run = self._waiting.get_nowait()
        run()


def _submit(executor: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
    try:
        return executor.submit(work)
    except RuntimeError as error:
        raise BackendUnavailable("the ledger is closed") from error


def _settle(answer: Future[T], work: Callable[[], T]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(work())
    except BaseException as error:
        answer.set_exception(error)

"""Keeps SQL off the event loop: a few threads that read, and one or two that write, the most urgent first."""

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
    """The threads of one ledger. Any event loop and any thread may call.

    Args:
        readers: how many reads may run at once.
        write_lanes: 1: one thread writes. 2: a second one takes messages, so that nothing else waits for them.
    """

    def __init__(self, readers: int, write_lanes: int = 1) -> None:
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="hotsku-ledger-read")
        self._lanes = [_Lane() for _ in range(write_lanes)]

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work` on a reading thread."""
        return await asyncio.wrap_future(_submit(self._readers, work))

    async def write(self, urgency: Urgency, work: Callable[[], T]) -> T:
        """Run `work` on a writing thread, after what is more urgent and what came before it."""
        lane = self._lanes[-1 if urgency is Urgency.APPLY else 0]
        return await asyncio.wrap_future(lane.submit(urgency, work))

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        for lane in self._lanes:
            lane.close()
        self._readers.shutdown()


class _Lane:
    """One thread that writes."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hotsku-ledger-write")
        self._waiting: PriorityQueue[tuple[Urgency, int, Callable[[], None]]] = PriorityQueue()
        self._arrival = count()

    def submit(self, urgency: Urgency, work: Callable[[], T]) -> Future[T]:
        answer: Future[T] = Future()
        self._waiting.put((urgency, next(self._arrival), lambda: _settle(answer, work)))
        _submit(self._thread, self._run_next)
        return answer

    def close(self) -> None:
        self._thread.shutdown()

    def _run_next(self) -> None:
        # Every call of `submit` submits one of these, so there is always one to take: not its own, but the most urgent.
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

"""Keeps SQL off the event loop: a few threads that read, and one or some that write, the most urgent first."""

import asyncio
from bisect import insort
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from itertools import count
from threading import Lock
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
        writers: how many writes of each kind, so that none of them waits for another kind. None: one thread makes all.
    """

    def __init__(self, readers: int, writers: Mapping[Urgency, int] | None = None) -> None:
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="hotsku-ledger-read")
        if writers is None:
            self._lanes = dict.fromkeys(Urgency, _Lane(1))
        else:
            self._lanes = {urgency: _Lane(writers[urgency]) for urgency in Urgency}

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work` on a reading thread."""
        return await asyncio.wrap_future(_submit(self._readers, work))

    async def write(self, urgency: Urgency, work: Callable[[], T], of: Hashable = None) -> T:
        """Run `work` on a writing thread, after what is more urgent and what came before it.

        Args:
            of: what it is about. Of writes about the same only one runs at a time: those that wait for a lock that
                somebody else has would soon be on all threads otherwise.
        """
        return await asyncio.wrap_future(self._lanes[urgency].submit(urgency, work, of))

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        for lane in self._lanes.values():
            lane.close()
        self._readers.shutdown()


# What waits: how urgent it is, when it came, what it is about, and what is to be run.
_Waiting = tuple[Urgency, int, Hashable, Callable[[], None]]


class _Lane:
    """Some threads that write."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hotsku-ledger-write")
        self._lock = Lock()
        self._waiting: list[_Waiting] = []
        self._busy: set[Hashable] = set()
        self._arrival = count()

    def submit(self, urgency: Urgency, work: Callable[[], T], of: Hashable) -> Future[T]:
        answer: Future[T] = Future()
        with self._lock:
            _submit(self._threads, self._run_waiting)
            insort(self._waiting, (urgency, next(self._arrival), of, lambda: _settle(answer, work)))
        return answer

    def close(self) -> None:
        self._threads.shutdown()

    def _run_waiting(self) -> None:
        # Not one alone: what waits for this thread's own write has nobody else who would come back for it.
        while (taken := self._take()) is not None:
            of, run = taken
            run()
            with self._lock:
                self._busy.discard(of)

    def _take(self) -> tuple[Hashable, Callable[[], None]] | None:
        """The most urgent that may run now."""
        with self._lock:
            for index, (_, _, of, run) in enumerate(self._waiting):
                if of is None or of not in self._busy:
                    del self._waiting[index]
                    if of is not None:
                        self._busy.add(of)
                    return of, run
        return None


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

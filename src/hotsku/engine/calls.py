"""Sends the batches of one server's partitions together: one call of a function decides those of many partitions.

A call costs client and server about as much as ten orders, whatever is in it, and under `appendfsync always` a sync. So
what partitions want to send gathers here, and a call takes the batches of several.

Two calls are under way: while the server decides and syncs one, the client hands out the answers of the other, and its
callers send what comes next. A call takes at most half of the partitions that send or want to, and a partition is in
one call at a time, so that its batches are decided one after the other. What comes meanwhile makes the next batch: so
under load batches grow by themselves (group commit). Few orders are not split: they go in one call, and share its sync.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Generic, Protocol, TypeVar

from hotsku.engine.shard_clock import ShardClock
from hotsku.engine.timing import Timing
from hotsku.log import get_logger
from hotsku.ports import BatchReply, Late, Lost, OrderBatch, Refusal, StepBatch, StepReply

_UNDER_WAY = 2
_FULL_UNDER_WAY = 4
# A call ends when it has so many orders: it holds the server up, and those behind it. A partition counts as some more.
_MOST_ORDERS = 1000
_PARTITION = 8

_log = get_logger("engine")

W = TypeVar("W", bound=OrderBatch | StepBatch)
R = TypeVar("R", bound=BatchReply | StepReply)
W_co = TypeVar("W_co", bound=OrderBatch | StepBatch, covariant=True)
R_contra = TypeVar("R_contra", bound=BatchReply | StepReply, contravariant=True)


class Sender(Protocol[W_co, R_contra]):
    """The orders, or the steps, of one partition."""

    @property
    def waiting(self) -> int:
        """How many requests the next batch would have, about."""
        ...

    def depart(self) -> tuple[W_co, int] | None:
        """The next batch, and how many requests it has. None: there is nothing to send any more."""
        ...

    def hear(self, answer: R_contra | Refusal, deadline_ms: int) -> None:
        """The answer to the batch that departed last; past `deadline_ms`, by the server's clock, it does nothing."""
        ...


class Calls(Generic[W, R]):
    """The calls of one function to one server."""

    def __init__(
        self,
        call: Callable[[int, Sequence[W]], Awaitable[list[R | Refusal]]],
        clock: ShardClock,
        timing: Timing,
    ) -> None:
        """
        Args:
            call: the shard's function: a deadline and batches to answers.
            clock: the server's; the replies set it.
            timing: how late a call may come, and from how many requests on two are under way.
        """
        self._call = call
        self._clock = clock
        self._timing = timing
        self._wanting: deque[Sender[W, R]] = deque()
        self._under_way = 0
        self._departed = 0
        self._requests = 0
        self._opening = False
        self._tasks: set[asyncio.Task[None]] = set()

    def want(self, sender: Sender[W, R]) -> None:
        """A partition has something to send. It wants once, until it has heard."""
        self._wanting.append(sender)
        self._open_soon()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_soon(self) -> None:
        if self._wanting and self._under_way < _FULL_UNDER_WAY and not self._opening:
            self._opening = True
            # At the end of this turn of the loop: callers who have just heard their answers come along with what they
            # send next. And two calls in one turn would reach the server in one write, and be synced as one.
            asyncio.get_running_loop().call_soon(self._open)

    def _open(self) -> None:
        self._opening = False
        waiting = self._waiting()
        many = self._requests + waiting >= self._timing.two_calls_from
        if not self._may_open(waiting, many=many):
            return  # they go when a call is answered, with what comes until then
        most = -(-(self._departed + len(self._wanting)) // _UNDER_WAY) if many else len(self._wanting)
        senders, batches, requests = self._gather(most)
        if not senders:
            return
        self._under_way += 1
        self._departed += len(senders)
        self._requests += requests
        self.spawn(self._send(senders, batches, requests))
        self._open_soon()

    def _waiting(self) -> int:
        """How many orders wait, counted until they are enough for a full call."""
        waiting = 0
        for sender in self._wanting:
            waiting += sender.waiting
            if waiting >= _MOST_ORDERS:
                break
        return waiting

    def _may_open(self, waiting: int, *, many: bool) -> bool:
        if waiting >= _MOST_ORDERS:
            return self._under_way < _FULL_UNDER_WAY
        return self._under_way < (_UNDER_WAY if many else 1)

    def _gather(self, most: int) -> tuple[list[Sender[W, R]], list[W], int]:
        senders: list[Sender[W, R]] = []
        batches: list[W] = []
        requests = 0
        while self._wanting and len(senders) < most and requests + _PARTITION * len(senders) < _MOST_ORDERS:
            sender = self._wanting.popleft()
            departing = sender.depart()
            if departing is not None:
                batch, size = departing
                senders.append(sender)
                batches.append(batch)
                requests += size
        return senders, batches, requests

    async def _send(self, senders: list[Sender[W, R]], batches: list[W], requests: int) -> None:
        deadline_ms, task = self._clock.in_ms(self._timing.deadline_ms), asyncio.current_task()
        try:
            answers = await self._answers(deadline_ms, batches)
            self._observe(answers)
            self._tell(senders, answers, deadline_ms)
        finally:
            self._under_way -= 1
            self._departed -= len(senders)
            self._requests -= requests
            if task is None or not task.cancelling():  # else the loop ends, and nobody is left to call
                self._open_soon()

    def _tell(self, senders: list[Sender[W, R]], answers: list[R | Refusal], deadline_ms: int) -> None:
        """Nothing departs before all have heard: what opened at the first would leave the others' callers behind."""
        opening, self._opening = self._opening, True
        try:
            for sender, answer in zip(senders, answers, strict=True):
                sender.hear(answer, deadline_ms)
        finally:
            self._opening = opening

    async def _answers(self, deadline_ms: int, batches: list[W]) -> list[R | Refusal]:
        """One for each batch, whatever happens: a partition that never heard would never send again."""
        try:
            answers = await self._call(deadline_ms, batches)
            if len(answers) == len(batches):
                return answers
            raise ValueError(f"{len(answers)} answers to {len(batches)} batches")
        except Exception as error:  # a bug: what the call did is unknown
            _log.error("this is a bug in hotsku", exc_info=error)
            return [Lost("the shard's reply could not be read", sent=True)] * len(batches)

    def _observe(self, answers: Sequence[R | Refusal]) -> None:
        """The latest time counts. Answers differ: a partition's clock never goes back, so after a failover it may be
        ahead of its server's; a cluster's server decides one slot after the other; and a slot may have moved. Deadlines
        by the latest let a lost call count as open for longer; by an earlier one, a partition might be late each time.
        """
        times = [answer.now_ms for answer in answers if isinstance(answer, BatchReply | StepReply | Late)]
        if times:
            self._clock.observe(max(times))

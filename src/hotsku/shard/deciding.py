"""Decides batches of several partitions: one call of a function for all of those that may be named together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ports import BatchReply, Fenced, Late, Lost, OrderBatch, Refusal, Stale, StepBatch, StepReply
from hotsku.shard.keys import PartitionKeys
from hotsku.shard.router import Router
from hotsku.shard.wire import Argument, Reply

B = TypeVar("B", bound=OrderBatch | StepBatch)
R = TypeVar("R", bound=BatchReply | StepReply)


class Function(Struct, Generic[B, R], frozen=True):
    """A function of the library that takes batches of several partitions.

    Attributes:
        name: as the library has it.
        arguments_of: what it takes for one batch.
        read: makes the answer of its reply to a batch that it decided, and of whether every copy has that, too.
    """

    name: str
    arguments_of: Callable[[B], tuple[Argument, ...]]
    read: Callable[[list[Reply], bool], R]


class Decider:
    """Has batches decided on the shards that have their partitions."""

    def __init__(self, router: Router, keys_of: Callable[[PartitionRef], PartitionKeys]) -> None:
        """
        Args:
            keys_of: gives a partition's keys; every call asks, so it had better remember them.
        """
        self._router = router
        self._keys_of = keys_of

    def decide(self, function: Function[B, R], deadline_ms: int, batches: Sequence[B]) -> Awaitable[list[R | Refusal]]:
        """Call a function once for all the batches whose slots may be named together. What goes to one server is
        written at once, and synced once.

        Args:
            deadline_ms: by the shard's clock; past it, the call does nothing.

        Returns:
            For each batch, in order, its reply, or why it was not decided.
        """
        every = [self._keys_of(batch.ref) for batch in batches]
        groups: dict[int, list[int]] = {}
        for place, k in enumerate(every):
            groups.setdefault(self._router.topology.group(k.slot), []).append(place)
        # This is no coroutine itself: every order passes here, and a layer of it would cost each call.
        if len(groups) == 1:
            return self._decide_group(function, deadline_ms, batches, every)
        return self._decide_groups(function, deadline_ms, batches, every, list(groups.values()))

    async def _decide_groups(
        self,
        function: Function[B, R],
        deadline_ms: int,
        batches: Sequence[B],
        every: Sequence[PartitionKeys],
        groups: Sequence[Sequence[int]],
    ) -> list[R | Refusal]:
        answers = await asyncio.gather(
            *(
                self._decide_group(function, deadline_ms, [batches[n] for n in places], [every[n] for n in places])
                for places in groups
            )
        )
        by_place = {
            place: answer
            for places, told in zip(groups, answers, strict=True)
            for place, answer in zip(places, told, strict=True)
        }
        return [by_place[place] for place in range(len(batches))]

    async def _decide_group(
        self, function: Function[B, R], deadline_ms: int, batches: Sequence[B], every: Sequence[PartitionKeys]
    ) -> list[R | Refusal]:
        keys = [key for k in every for key in k.all()]
        arguments_of, read = function.arguments_of, function.read
        arguments = [argument for batch in batches for argument in arguments_of(batch)]
        slot = every[0].slot
        waits = int(self._router.waits_for_copies(slot))
        try:
            answer, copied = await self._router.send_copied(
                slot, "FCALL", function.name, len(keys), *keys, deadline_ms, waits, *arguments
            )
        except (Lost, BackendUnavailable) as error:
            return [error] * len(batches)
        replies = cast(list[list[Reply]], answer)
        return [read(reply, copied) if reply[0] == b"OK" else _refusal(reply) for reply in replies]


def _order_arguments(batch: OrderBatch) -> tuple[Argument, ...]:
    return batch.incarnation, int(batch.take), batch.orders


def _step_arguments(batch: StepBatch) -> tuple[Argument, ...]:
    return batch.incarnation, batch.steps


def _batch_reply(reply: list[Reply], copied: bool) -> BatchReply:
    _, seq_before, left_a, left_b, _, refill, taken, now_ms, codes, *records = reply
    return BatchReply(
        cast(int, seq_before),
        cast(int, left_a) + cast(int, left_b),
        refill == 1,
        cast(int, taken),
        cast(int, now_ms),
        cast(bytes, codes).decode(),
        cast(list[bytes], records),
        copied,
    )


def _step_reply(reply: list[Reply], copied: bool) -> StepReply:
    _, seq_before, events, now_ms, codes, *records = reply
    return StepReply(
        cast(int, seq_before),
        cast(int, events),
        cast(int, now_ms),
        cast(bytes, codes).decode(),
        cast(list[bytes], records),
        copied,
    )


def _refusal(reply: list[Reply]) -> Refusal:
    match reply:
        case [b"LATE", int(now_ms)]:
            return Late(now_ms)
        case [b"STALE", *_]:
            return Stale()
        case [b"FAILED", bytes(why)]:
            return Lost(f"the shard failed: {why.decode(errors='replace')}", sent=True)
        case _:
            return Fenced()


# See deduct.lua and step.lua.
DEDUCT = Function("hs_deduct", _order_arguments, _batch_reply)
STEP = Function("hs_step", _step_arguments, _step_reply)

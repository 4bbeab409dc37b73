"""Back ends that fail when told to: a ledger that is away, or does not say what it did; a broker that loses."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import cast

from hotsku.domain.events import PartitionRef
from hotsku.errors import BackendUnavailable
from hotsku.ledger import SqlLedger
from hotsku.ports import Broker, Delivery, Unsure
from hotsku.stack import Stack


class Faults:
    """What is wrong at the moment; all is well at first.

    Attributes:
        ledger_away: every call fails before it is made.
        lost_answers: so large a share of the ledger's calls is carried out, and fails.
        lost_messages: so large a share of the messages never arrives.
        twice: so large a share of the messages arrives twice, the second time later.
        refused: the calls that failed because the ledger was away.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.refused = 0
        self.heal()

    def heal(self) -> None:
        """All is well."""
        self.ledger_away = False
        self.lost_answers = 0.0
        self.lost_messages = 0.0
        self.twice = 0.0

    def hits(self, share: float) -> bool:
        """Is it one of the share?"""
        return share > 0 and self.random.random() < share


class FaultyLedger:
    """A ledger, behind faults."""

    def __init__(self, ledger: SqlLedger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults

    def __getattr__(self, name: str) -> object:
        found = getattr(self._ledger, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: object, **kwargs: object) -> object:
            if self._faults.ledger_away:
                self._faults.refused += 1
                raise BackendUnavailable("the ledger is away")
            answer = await found(*args, **kwargs)
            if self._faults.hits(self._faults.lost_answers):
                raise Unsure("the ledger's answer was lost")
            return answer

        return call


class FaultyBroker:
    """A broker, behind faults."""

    def __init__(self, broker: Broker, faults: Faults) -> None:
        self._broker = broker
        self._faults = faults
        self._late: set[asyncio.Task[None]] = set()

    async def publish(self, ref: PartitionRef, body: bytes) -> None:
        if self._faults.hits(self._faults.twice):
            task = asyncio.create_task(self._again(ref, body, self._faults.random.uniform(0.1, 4)))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if not self._faults.hits(self._faults.lost_messages):
            await self._broker.publish(ref, body)

    def consume(self) -> AsyncGenerator[Delivery, None]:
        return self._broker.consume()

    async def close(self) -> None:
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._broker.close()

    async def _again(self, ref: PartitionRef, body: bytes, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            await self._broker.publish(ref, body)
        except BackendUnavailable:
            return


class FaultyStack(Stack, frozen=True, kw_only=True):
    """A stack whose ledger and brokers are behind faults."""

    faults: Faults

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        async with Stack.broker(self) as broker:
            faulty = FaultyBroker(broker, self.faults)
            try:
                yield faulty
            finally:
                await faulty.close()


def faulty_stack(stack: Stack, faults: Faults) -> FaultyStack:
    """The same stack behind faults."""
    values: dict[str, object] = {name: getattr(stack, name) for name in Stack.__struct_fields__}
    values["ledger"] = cast(SqlLedger, FaultyLedger(stack.ledger, faults))
    return cast(Callable[..., FaultyStack], FaultyStack)(**values, faults=faults)

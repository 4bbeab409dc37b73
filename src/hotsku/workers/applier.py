"""The applier: takes messages from the broker into the ledger, each event exactly once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from typing import TypeAlias

from hotsku.domain.events import CorruptMessage, Message, decode_message
from hotsku.log import get_logger
from hotsku.ports import NO_SPANS, Applied, Broker, Delivery, Ledger, News, Signals, Spans, Work
from hotsku.workers.retrying import AWAY, Outage

# A transaction takes what has come while the one before it ran, up to about so many events. More in one would cost less
# for each, but where a database has one writer, leases wait for the transaction to end, and buyers for leases.
_MOST_EVENTS = 20_000
# So many messages are read ahead: about what the relay has in flight.
_AHEAD = 64

_Received: TypeAlias = tuple[Message, Delivery]

_log = get_logger("applier")


class Applier:
    """A role. A message is acknowledged when the ledger has committed it, or has no use for it.

    `counts` says how many messages were applied, skipped, a gap, parked, corrupt or refused since the start.
    """

    name = "applier"

    def __init__(self, broker: Broker, ledger: Ledger, signals: Signals, spans: Spans = NO_SPANS) -> None:
        self._broker = broker
        self._ledger = ledger
        self._signals = signals
        self._spans = spans
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Consume until cancelled."""
        received: asyncio.Queue[_Received] = asyncio.Queue(_AHEAD)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(received))
            group.create_task(self._apply_what_comes(received))

    async def _receive(self, received: asyncio.Queue[_Received]) -> None:
        async with aclosing(self._broker.consume()) as deliveries:
            async for delivery in deliveries:
                try:
                    message = decode_message(delivery.body)
                except CorruptMessage as error:
                    await self._drop(delivery, error)
                else:
                    await received.put((message, delivery))

    async def _apply_what_comes(self, received: asyncio.Queue[_Received]) -> None:
        while True:
            together = [await received.get()]
            events = _size(together[0])
            while events < _MOST_EVENTS and not received.empty():
                together.append(received.get_nowait())
                events += _size(together[-1])
            await self._take(together)

    async def _take(self, together: Sequence[_Received]) -> None:
        try:
            skus = ",".join(sorted({message.sku for message, _ in together}))
            events = sum(map(_size, together))
            with self._spans.span("applier apply", sku=skus, messages=len(together), events=events) as span:
                applied = await self._apply([message for message, _ in together])
                span.tell(result=",".join(sorted({answer.status for answer in applied})))
        except Exception as error:
            if len(together) == 1:
                await self._refuse(together[0][1], error)
                return
            # One that the ledger cannot take must not stand in the way of the others.
            for received in together:
                await self._take([received])
            return
        for (message, delivery), answer in zip(together, applied, strict=True):
            self.counts[answer.status] += 1
            await delivery.ack()
            if answer.returned:  # the pool has units again: nothing is known to be sold out
                self._signals.publish(News(installed=[(message.ref, 0)]))
        self._tell([(message, answer) for (message, _), answer in zip(together, applied, strict=True)])

    def _tell(self, answers: Sequence[tuple[Message, Applied]]) -> None:
        """Say how far the ledger has come."""
        reached = {
            (message.ref, message.incarnation): answer.watermark
            for message, answer in answers
            if answer.status != "parked"
        }
        if reached:
            self._signals.publish(Work(applied=[(*place, watermark) for place, watermark in reached.items()]))

    async def _refuse(self, delivery: Delivery, error: Exception) -> None:
        """Its events are still in their stream, and the relay sends them again: they are neither lost nor forgotten.
        Where they come back, their partition's backlog grows, and the audit says so."""
        if isinstance(error, CorruptMessage):
            await self._drop(delivery, error)
            return
        _log.error("the ledger refused a message", exc_info=error)
        self.counts["refused"] += 1
        await delivery.ack()

    async def _drop(self, delivery: Delivery, error: CorruptMessage) -> None:
        _log.warning("a corrupt message was dropped", error=str(error), size=len(delivery.body))
        self.counts["corrupt"] += 1
        await delivery.ack()

    async def _apply(self, messages: Sequence[Message]) -> list[Applied]:
        outage = Outage(self.name)
        while True:
            try:
                applied = await self._ledger.apply_all(messages)
            except AWAY as error:
                await outage.wait(error)
            else:
                outage.over()
                return applied


def _size(received: _Received) -> int:
    return received[0].last_seq - received[0].first_seq + 1

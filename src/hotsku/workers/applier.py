"""The applier: takes messages from the broker into the ledger, each event exactly once."""

from collections import Counter
from contextlib import aclosing

from hotsku.domain.events import CorruptMessage, Message, decode_message
from hotsku.log import get_logger
from hotsku.ports import NO_SPANS, Applied, Broker, Delivery, Ledger, News, Signals, Span, Spans, Work
from hotsku.workers.retrying import AWAY, Outage

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
        async with aclosing(self._broker.consume()) as deliveries:
            async for delivery in deliveries:
                with self._spans.span("applier apply") as span:
                    await self._take(delivery, span)

    async def _take(self, delivery: Delivery, span: Span) -> None:
        try:
            message = decode_message(delivery.body)
            span.tell(
                sku=message.sku, item_id=message.item_id, partition=message.partition, incarnation=message.incarnation
            )
            applied = await self._apply(message)
        except CorruptMessage as error:
            # Its events are still in their stream: the relay sends them again.
            _log.warning("a corrupt message was dropped", error=str(error), size=len(delivery.body))
            span.tell(result="corrupt")
            self.counts["corrupt"] += 1
            await delivery.ack()
            return
        except Exception:
            # One message that the ledger cannot take must not stand in the way of all that follow it. The relay sends
            # it again, so it is neither lost nor forgotten: its partition's backlog grows, and the audit says so.
            _log.exception("the ledger refused a message")
            span.tell(result="refused")
            self.counts["refused"] += 1
            await delivery.ack()
            return
        span.tell(result=applied.status, events=message.last_seq - message.first_seq + 1, watermark=applied.watermark)
        self.counts[applied.status] += 1
        await delivery.ack()
        if applied.status != "parked":
            self._signals.publish(Work(applied=[(message.ref, message.incarnation, applied.watermark)]))
        if applied.returned:  # the pool has units again: nothing is known to be sold out
            self._signals.publish(News(installed=[(message.ref, 0)]))

    async def _apply(self, message: Message) -> Applied:
        outage = Outage(self.name)
        while True:
            try:
                applied = await self._ledger.apply(message)
            except AWAY as error:
                await outage.wait(error)
            else:
                outage.over()
                return applied

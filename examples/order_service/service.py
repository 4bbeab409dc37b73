"""An order service: it hears every order from NATS, and keeps a table of its own.

    HOTSKU_BROKER_URL=nats://127.0.0.1:4222 HOTSKU_LEDGER_URL=sqlite:///.hotsku/ledger.db ORDERS=orders.db \
        python examples/order_service/service.py

It may be killed at any time and started again, also twice at once: a message is acknowledged after it was taken, and
what comes again is skipped. RabbitMQ, Kafka and streams carry the same messages: see docs/messages.md.
"""

import asyncio
import os
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from orders import Gap, OrderTable
from sqlalchemy import Connection, create_engine, text

from hotsku.domain.events import CorruptMessage, Event, EventKind

NAMESPACE = os.environ.get("HOTSKU_NAMESPACE", "hs")
FETCH = 64
IDLE_S = 5.0
# What was fetched by a service that died comes again after this.
ACK_WAIT_S = 5.0
RETRY_S = 0.2

# `events` has everything up to the watermark.
WATERMARK = text("""
    SELECT p.watermark FROM partitions AS p
    WHERE p.item_id = :item_id AND p.partition = :partition AND p.incarnation = :incarnation
""")
MISSED = text("""
    SELECT e.seq, e.kind, e.quantity, e.at, e.order_id, e.buyer_id FROM events AS e
    WHERE e.item_id = :item_id AND e.partition = :partition AND e.incarnation = :incarnation
    AND e.seq > :after AND e.seq <= :through ORDER BY e.seq
""")


async def main() -> None:
    table = OrderTable(Path(os.environ["ORDERS"]))
    ledger = create_engine(os.environ["HOTSKU_LEDGER_URL"])
    connection = await nats.connect(os.environ["HOTSKU_BROKER_URL"])
    try:
        jetstream = connection.jetstream()
        subscription = await jetstream.pull_subscribe(
            f"{NAMESPACE}.events.>",
            durable="order-service",
            stream=await stream_name(jetstream),
            config=ConsumerConfig(ack_wait=ACK_WAIT_S),
        )
        while True:
            for delivered in await fetched(subscription):
                with ledger.connect() as reading:
                    await handle(table, reading, delivered)
    finally:
        await connection.close()


async def stream_name(jetstream: JetStreamContext) -> str:
    """The stream of this namespace's ledger, once HotSKU has made it."""
    while True:
        for stream in await jetstream.streams_info():
            name = stream.config.name or ""
            if name.startswith(f"{NAMESPACE}_") and name.endswith("_events"):
                return name
        await asyncio.sleep(RETRY_S)


async def fetched(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    """What has come; nothing after some time without a message."""
    try:
        return await subscription.fetch(FETCH, timeout=IDLE_S)
    except TimeoutError:
        return []


async def handle(table: OrderTable, ledger: Connection, delivered: Msg) -> None:
    """Take a message, and acknowledge it when that is committed."""
    try:
        print(f"{table.take(delivered.data)} events", flush=True)
    except CorruptMessage as error:
        print(f"dropped: {error}", flush=True)
    except Gap as gap:
        filled = fill(table, ledger, gap)
        print(f"{filled} events from the ledger", flush=True)
        await delivered.nak(RETRY_S)  # it follows now; or else what is missing is still on its way
        return
    await delivered.ack()


def fill(table: OrderTable, ledger: Connection, gap: Gap) -> int:
    """Read what is missing from the ledger, as far as the ledger has it."""
    message = gap.message
    place = {"item_id": message.item_id, "partition": message.partition, "incarnation": message.incarnation}
    watermark = int(ledger.execute(WATERMARK, place).scalar_one())
    through = min(watermark, message.first_seq - 1)
    rows = ledger.execute(MISSED, {**place, "after": gap.last_seq, "through": through})
    return table.fill(message, [event(*row) for row in rows], through)


def event(seq: int, kind: str, quantity: int, at: int, order_id: str, buyer_id: str) -> Event:
    return Event(seq=seq, kind=EventKind(kind), quantity=quantity, at=at, order_id=order_id, buyer_id=buyer_id)


if __name__ == "__main__":
    asyncio.run(main())

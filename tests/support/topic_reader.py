"""A process that reads one message, says what it is, and never acknowledges it; whoever started it kills it."""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager

from hotsku.broker.topic import Topic
from hotsku.clock import SystemClock
from hotsku.ports import Broker
from tests.support.streams import open_streams
from tests.support.topics import NAMESPACE, open_remote


async def read(url: str, ledger_id: str) -> None:
    async with _open(url, ledger_id) as broker:
        async for delivery in broker.consume():
            sys.stdout.buffer.write(delivery.body + b"\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


def _open(url: str, ledger_id: str) -> AbstractAsyncContextManager[Broker]:
    clock = SystemClock()
    if url.startswith(("amqp", "nats", "kafka")):
        return open_remote(url, Topic(NAMESPACE, ledger_id), clock, idempotent=False)
    return open_streams(url, ledger_id, clock)


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1], sys.argv[2]))

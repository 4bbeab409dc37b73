"""The order service's own table, built from HotSKU's events: each event once, however often it is delivered."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hotsku.domain.events import Event, EventKind, Message, decode_events, decode_message

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    ledger_id TEXT, item_id INTEGER, buyer_id TEXT, order_id TEXT, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
    refunded INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, payment_ref TEXT NOT NULL, at INTEGER NOT NULL,
    incarnation INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (ledger_id, item_id, buyer_id, order_id)
);
CREATE TABLE IF NOT EXISTS taken (
    ledger_id TEXT, item_id INTEGER, "partition" INTEGER, incarnation INTEGER, last_seq INTEGER NOT NULL,
    PRIMARY KEY (ledger_id, item_id, "partition", incarnation)
);
"""

# What an order is after an event. A refund is looked at more closely; units that went back unsold are no order's.
STATE_AFTER = {
    EventKind.DEDUCTED: "confirmed",
    EventKind.HELD: "held",
    EventKind.PAYMENT_BEGUN: "held",
    EventKind.EXTENDED: "held",
    EventKind.CONFIRMED: "confirmed",
    EventKind.RELEASED: "released",
    EventKind.EXPIRED: "expired",
}

# An order's events come in order, but those of an older incarnation may come after its successor's first ones.
BOOK = """
INSERT INTO orders (ledger_id, item_id, buyer_id, order_id, sku, quantity, state, payment_ref, at, incarnation, seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    quantity = excluded.quantity, state = excluded.state, at = excluded.at, incarnation = excluded.incarnation,
    seq = excluded.seq, payment_ref = coalesce(nullif(excluded.payment_ref, ''), payment_ref)
WHERE (excluded.incarnation, excluded.seq) > (orders.incarnation, orders.seq)
"""
REFUND = """
UPDATE orders SET refunded = refunded + :units,
                  state = CASE WHEN refunded + :units >= quantity THEN 'refunded' ELSE state END
WHERE ledger_id = :ledger_id AND item_id = :item_id AND buyer_id = :buyer_id AND order_id = :order_id
"""
TAKE = """
INSERT INTO taken VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq
"""


class Gap(Exception):
    """The message begins above what comes next: see `OrderTable.fill`."""

    def __init__(self, message: Message, last_seq: int) -> None:
        super().__init__(f"{message.sku} {message.partition}: {message.first_seq} does not follow {last_seq}")
        self.message = message
        self.last_seq = last_seq


class OrderTable:
    """Orders in SQLite. The number of the last event that was taken is written in the transaction that takes it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(SCHEMA)

    def take(self, body: bytes) -> int:
        """Take what is new in a message; returns how many events that were.

        Raises:
            Gap: events before it are missing.
            hotsku.domain.events.CorruptMessage: drop it, it will come again.
        """
        message = decode_message(body)
        events = decode_events(message)
        with self._transaction():
            last_seq = self._last_seq(message)
            if message.first_seq > last_seq + 1:
                raise Gap(message, last_seq)
            return self._book(message, [event for event in events if event.seq > last_seq], message.last_seq)

    def fill(self, message: Message, events: Sequence[Event], through_seq: int) -> int:
        """Take events of the message's partition that were read from the ledger, which has all up to `through_seq`."""
        with self._transaction():
            last_seq = self._last_seq(message)
            return self._book(message, [event for event in events if event.seq > last_seq], through_seq)

    def close(self) -> None:
        self._database.close()

    def _last_seq(self, message: Message) -> int:
        place = (message.ledger_id, message.item_id, message.partition, message.incarnation)
        found = self._database.execute(
            'SELECT last_seq FROM taken WHERE (ledger_id, item_id, "partition", incarnation) = (?, ?, ?, ?)', place
        ).fetchone()
        return int(found[0]) if found else 0

    def _book(self, message: Message, events: Sequence[Event], through_seq: int) -> int:
        for event in events:
            self._book_one(message, event)
        if through_seq > self._last_seq(message):
            place = (message.ledger_id, message.item_id, message.partition, message.incarnation)
            self._database.execute(TAKE, (*place, through_seq))
        return len(events)

    def _book_one(self, message: Message, event: Event) -> None:
        order = (message.ledger_id, message.item_id, event.buyer_id, event.order_id)
        if event.kind is EventKind.REFUNDED:
            names = ("ledger_id", "item_id", "buyer_id", "order_id")
            self._database.execute(REFUND, {"units": event.quantity, **dict(zip(names, order, strict=True))})
        elif event.kind in STATE_AFTER:
            state = STATE_AFTER[event.kind]
            rest = (message.sku, event.quantity, state, event.payment_ref, event.at, message.incarnation, event.seq)
            self._database.execute(BOOK, (*order, *rest))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

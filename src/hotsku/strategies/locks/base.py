"""What the strategies that sell in SQL share: their tables, their orders, and everything but the deduction itself.

Two tables do for most: `items` with the stock, `orders` with a row for each order that was accepted, whose primary key
(item, buyer, order) is the idempotency. The order and the stock change in one transaction.
"""

import re
from abc import ABC, abstractmethod
from typing import ClassVar

from hotsku.domain.identity import check_id, check_quantity
from hotsku.errors import IdempotencyConflict, InvalidSettings, UnknownItem
from hotsku.strategies.base import Answer, Count, Sale, check_sale, replay
from hotsku.strategies.databases.base import Again, Database, Session, Value

SOLD, RELEASED = 1, 2
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")
_TABLES = ("items", "orders", "units")


class SqlStrategy(ABC):
    """Sells by transactions of one database. Subclasses say how a deduction locks.

    Args:
        database: where; closed with the strategy.
        prefix: of its tables' names.
    """

    connections: ClassVar[int | None] = None  # fewer than usual, where that is better for it

    def __init__(self, database: Database, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise InvalidSettings("prefix must be 1 to 31 characters of a-z 0-9 _, the first a letter")
        self._database = database
        self._prefix = prefix
        self._ids: dict[str, int] = {}
        before, behind = database.dialect.insert
        self._insert_item = f"{before} INTO {prefix}items (sku, total, stock) VALUES (:sku, :total, :total) {behind}"
        self._insert_order = (
            f"{before} INTO {prefix}orders (item_id, buyer_id, order_id, quantity, state) "
            f"VALUES (:item, :buyer, :order, :quantity, {SOLD}) {behind}"
        )
        self._is_order = "item_id = :item AND buyer_id = :buyer AND order_id = :order"
        self._find_order = f"SELECT quantity, state FROM {prefix}orders WHERE {self._is_order}"
        self._end_order = f"UPDATE {prefix}orders SET state = {RELEASED} WHERE {self._is_order} AND state = {SOLD}"

    async def open(self) -> None:
        """Make the tables where they are missing."""
        tables = self._database.dialect.tables(self._prefix)
        await self._database.statements(lambda session: [session.execute(table, {}) for table in tables])

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()

    async def erase(self) -> None:
        """Drop the tables."""
        names = [self._prefix + table for table in _TABLES]
        await self._database.statements(
            lambda session: [session.execute(f"DROP TABLE IF EXISTS {name}", {}) for name in names]
        )
        self._ids.clear()

    async def create(self, sku: str, total: int) -> None:
        """Put an item on sale."""
        check_id("sku", sku)
        check_quantity(total, "total")
        if await self._database.transaction(lambda session: self._create(session, sku, total)) != total:
            raise IdempotencyConflict(f"the item {sku!r} exists with another total")

    async def deduct(self, sku: str, quantity: int, order_id: str, buyer_id: str) -> Answer:
        """Sell to an order."""
        sale = check_sale(sku, quantity, order_id, buyer_id)
        return await self._sell(await self._item(sku), sale)

    async def release(self, sku: str, order_id: str, buyer_id: str) -> bool:
        """Give an order's units back."""
        item = await self._item(sku)
        key: dict[str, Value] = {"item": item, "buyer": buyer_id, "order": order_id}

        def work(session: Session) -> bool:
            if session.execute(self._end_order, key) == 0:
                return False
            self._put_back(session, item, session.rows(self._find_order, key)[0][0])
            return True

        return await self._database.transaction(work)

    async def count(self, sku: str) -> Count:
        """What the tables say: sold by the orders, left by the stock."""
        item = await self._item(sku)
        sold = f"SELECT coalesce(sum(quantity), 0) FROM {self._prefix}orders WHERE item_id = :item AND state = {SOLD}"

        def work(session: Session) -> Count:
            return Count(session.rows(sold, {"item": item})[0][0], self._left(session, item))

        return await self._database.transaction(work)

    # --- for subclasses ---

    @abstractmethod
    async def _sell(self, item: int, sale: Sale) -> Answer: ...

    def _left(self, session: Session, item: int) -> int:
        return session.rows(f"SELECT stock FROM {self._prefix}items WHERE id = :item", {"item": item})[0][0]

    def _put_back(self, session: Session, item: int, quantity: int) -> None:
        sql = f"UPDATE {self._prefix}items SET stock = stock + :quantity, version = version + 1 WHERE id = :item"
        session.execute(sql, {"item": item, "quantity": quantity})

    def _create(self, session: Session, sku: str, total: int) -> int:
        session.execute(self._insert_item, {"sku": sku, "total": total})
        return session.rows(f"SELECT total FROM {self._prefix}items WHERE sku = :sku", {"sku": sku})[0][0]

    def _values(self, item: int, sale: Sale) -> dict[str, Value]:
        return {"item": item, "buyer": sale.buyer_id, "order": sale.order_id, "quantity": sale.quantity}

    def _earlier(self, session: Session, item: int, sale: Sale) -> Answer | None:
        """What the order hears that was accepted before; None where it was not."""
        rows = session.rows(self._find_order, self._values(item, sale))
        return replay(sale, rows[0][0], released=rows[0][1] == RELEASED) if rows else None

    def _replay(self, session: Session, item: int, sale: Sale) -> Answer:
        """What the order hears whose key is taken already. It may be gone again: then the transaction begins anew."""
        earlier = self._earlier(session, item, sale)
        if earlier is None:
            raise Again
        return earlier

    async def _item(self, sku: str) -> int:
        item = self._ids.get(sku)
        if item is None:
            query = f"SELECT id FROM {self._prefix}items WHERE sku = :sku"
            rows = await self._database.statements(lambda session: session.rows(query, {"sku": sku}))
            if not rows:
                raise UnknownItem(sku)
            item = self._ids[sku] = rows[0][0]
        return item

"""Rung 1, `UPDATE … WHERE stock >= n`: the statement that takes is the one that looks. The best of the simple locks."""

from hotsku.strategies.base import Answer, Sale, refusal
from hotsku.strategies.databases.base import Database, Duplicate, Session
from hotsku.strategies.locks.base import SOLD, SqlStrategy


class Guarded(SqlStrategy):
    """Takes stock by a guarded update, and reads nothing before it.

    Where the database can change two tables in one statement, the order's row and the stock are one statement and one
    round trip, and the hot row is locked only while it runs and commits. Elsewhere the order is inserted first, and the
    row is locked from the update to the commit.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        super().__init__(database, prefix)
        self._take = (
            f"UPDATE {prefix}items SET stock = stock - :quantity, version = version + 1 "
            "WHERE id = :item AND stock >= :quantity"
        )
        self._all = (
            f"WITH taken AS ({self._take} AND NOT EXISTS "
            f"(SELECT FROM {prefix}orders WHERE {self._is_order}) RETURNING id) "
            f"INSERT INTO {prefix}orders (item_id, buyer_id, order_id, quantity, state) "
            f"SELECT id, :buyer, :order, :quantity, {SOLD} FROM taken"
        )

    async def _sell(self, item: int, sale: Sale) -> Answer:
        if self._database.dialect.one_statement:
            return await self._database.statements(lambda session: self._in_one(session, item, sale))
        return await self._database.transaction(lambda session: self._in_two(session, item, sale))

    def _in_two(self, session: Session, item: int, sale: Sale) -> Answer:
        values = self._values(item, sale)
        if session.execute(self._insert_order, values) == 0:
            return self._replay(session, item, sale)
        if session.execute(self._take, values) == 0:
            session.rollback()
            return refusal(self._left(session, item))
        return Answer.ACCEPTED

    def _in_one(self, session: Session, item: int, sale: Sale) -> Answer:
        values = self._values(item, sale)
        while True:
            try:
                if session.execute(self._all, values):
                    return Answer.ACCEPTED
            except Duplicate:
                pass  # the same order, sent twice at one moment: the other one is there now
            earlier = self._earlier(session, item, sale)
            if earlier is not None:
                return earlier
            left = self._left(session, item)
            if left < sale.quantity:
                return refusal(left)
            # Units came back between the two: look again.

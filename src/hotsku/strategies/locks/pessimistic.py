"""Rung 1, `SELECT … FOR UPDATE`: lock the item's row, look, write, commit."""

from hotsku.strategies.base import Answer, Sale, refusal
from hotsku.strategies.databases.base import Database, Session
from hotsku.strategies.locks.base import SqlStrategy


class Pessimistic(SqlStrategy):
    """Locks the item's row before it looks at the stock.

    The order is inserted first: the same order sent twice meets itself at its own key, and the hot row is locked for
    two round trips and a commit, not for four. That is what limits it: everyone else waits meanwhile.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        super().__init__(database, prefix)
        self._lock = f"SELECT stock FROM {prefix}items WHERE id = :item {database.dialect.for_update}"
        self._take = f"UPDATE {prefix}items SET stock = stock - :quantity WHERE id = :item"

    async def _sell(self, item: int, sale: Sale) -> Answer:
        return await self._database.transaction(lambda session: self._decide(session, item, sale))

    def _decide(self, session: Session, item: int, sale: Sale) -> Answer:
        if session.execute(self._insert_order, self._values(item, sale)) == 0:
            return self._replay(session, item, sale)
        (stock,) = session.rows(self._lock, {"item": item})[0]
        if stock < sale.quantity:
            session.rollback()
            return refusal(stock)
        session.execute(self._take, {"item": item, "quantity": sale.quantity})
        return Answer.ACCEPTED

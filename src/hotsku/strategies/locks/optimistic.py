"""Rung 1, optimistic: read the stock and its version; write only if the version is still that one; else try again."""

import random
from time import sleep

from hotsku.errors import Overloaded
from hotsku.strategies.base import Answer, Sale, refusal, replay
from hotsku.strategies.databases.base import Database, Session
from hotsku.strategies.locks.base import RELEASED, SqlStrategy

_ATTEMPTS = 10_000
_LONGEST_PAUSE_S = 0.002


class Optimistic(SqlStrategy):
    """Holds no lock between reading and writing, and pays with retries.

    Of those who read the same version one wins, so under contention most of the work is thrown away. A loser waits for
    a random moment, up to 2 ms, before it reads again.
    """

    connections = 4  # more of them only make more losers

    def __init__(self, database: Database, prefix: str) -> None:
        super().__init__(database, prefix)
        self._read = (
            f"SELECT i.stock, i.version, coalesce(o.quantity, 0), coalesce(o.state, 0) FROM {prefix}items AS i "
            f"LEFT JOIN {prefix}orders AS o ON o.item_id = i.id AND o.buyer_id = :buyer AND o.order_id = :order "
            "WHERE i.id = :item"
        )
        self._take = (
            f"UPDATE {prefix}items SET stock = stock - :quantity, version = version + 1 "
            "WHERE id = :item AND version = :version"
        )

    async def _sell(self, item: int, sale: Sale) -> Answer:
        return await self._database.statements(lambda session: self._persist(session, item, sale))

    def _persist(self, session: Session, item: int, sale: Sale) -> Answer:
        for _ in range(_ATTEMPTS):
            answer = self._attempt(session, item, sale)
            if answer is not None:
                return answer
            sleep(random.uniform(0, _LONGEST_PAUSE_S))
        raise Overloaded(f"others were quicker {_ATTEMPTS} times; try again")

    def _attempt(self, session: Session, item: int, sale: Sale) -> Answer | None:
        values = self._values(item, sale)
        stock, version, quantity, state = session.rows(self._read, values)[0]
        if quantity:
            return replay(sale, quantity, released=state == RELEASED)
        if stock < sale.quantity:
            return refusal(stock)
        values["version"] = version
        session.begin()
        # The item first: a loser, and there are many, has then written nothing.
        if session.execute(self._take, values) and session.execute(self._insert_order, values):
            session.commit()
            return Answer.ACCEPTED
        session.rollback()
        return None

"""Lets the partitions of one server send their batches together, and keeps server and client busy at the same time.

Under `appendfsync always` a server syncs once for all that it reads in one turn of its loop. Batches that partitions
send when they like arrive one by one, and each waits for a sync of its own; sent together they share one. So a
partition with a batch waits for its turn, and a round gives several their turn at once.

Two rounds are under way: while the server decides and syncs one, the client hands out the answers of the other, and its
callers send what comes next. A round takes at most half of the partitions that send or want to, and a partition is in
one round at a time, so that its batches are decided one after the other. Who waits for a turn gathers orders meanwhile:
a call costs about as much for one order as for ten.
"""

import asyncio
from collections import deque

_UNDER_WAY = 2
# Among so many, a sync is a small part of what each costs.
_MOST_TURNS = 16


class Round:
    """One round. Each of its turns is entered once: inside, send one batch, wait for its reply and hand out the
    answers, nothing else, for others wait for that."""

    __slots__ = ("_open", "_rounds")

    def __init__(self, rounds: "Rounds", turns: int) -> None:
        self._rounds = rounds
        self._open = turns

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        self._rounds.turn_ended(last=not self._open)


class Rounds:
    """The rounds of an engine's batches to a server."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[Round]] = deque()
        self._rounds = 0
        self._turns = 0
        self._opening = False

    async def turn(self) -> Round:
        """Wait for the next round that has a turn left. Enter it at once: `with await rounds.turn():`."""
        turn: asyncio.Future[Round] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._open_soon()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                with turn.result():  # it was given, and nobody takes it
                    pass
            raise

    def turn_ended(self, *, last: bool) -> None:
        """One of the turns that were given is over; `last` of its round."""
        self._turns -= 1
        self._rounds -= last
        self._open_soon()

    def _open_soon(self) -> None:
        if self._waiting and self._rounds < _UNDER_WAY and not self._opening:
            self._opening = True
            # At the end of this turn of the loop: callers who have just heard their answers come along with what they
            # send next. And two rounds in one turn would reach the server in one write, and be synced as one.
            asyncio.get_running_loop().call_soon(self._open)

    def _open(self) -> None:
        self._opening = False
        waiting = [turn for turn in self._waiting if not turn.done()]
        turns = min(-(-(self._turns + len(waiting)) // _UNDER_WAY), _MOST_TURNS, len(waiting))
        self._waiting = deque(waiting[turns:])
        if not turns:
            return
        self._rounds += 1
        self._turns += turns
        opened = Round(self, turns)
        for turn in waiting[:turns]:
            turn.set_result(opened)
        self._open_soon()

"""Watches what must live, and brings it back: within a second, but ever more slowly where it keeps dying."""

import asyncio
from collections.abc import Awaitable, Callable

from hotsku.log import get_logger

_TICK_S = 0.25
_SOON_TICKS = 4
_LONGEST_S = 5.0

_log = get_logger("embedded")


async def guard(well: Callable[[], bool], heal: Callable[[], Awaitable[None]]) -> None:
    """Look every 250 ms, and heal what is not well; runs until it is cancelled.

    What dies within a second of being healed is healed after a pause that doubles, up to five seconds.
    """
    relapses = 0
    while True:
        quiet = await _watch(well)
        relapses = 0 if quiet >= _SOON_TICKS else relapses + 1
        if relapses:
            await asyncio.sleep(min(_LONGEST_S, _TICK_S * 2**relapses))
        try:
            await heal()
        except Exception as error:  # healing runs a callback that is not ours; whatever it raises, try again
            _log.warning("the embedded stack could not be healed", why=str(error))


async def _watch(well: Callable[[], bool]) -> int:
    """Return when it is not well any more: the ticks for which it was."""
    ticks = 0
    await asyncio.sleep(_TICK_S)
    while well():
        ticks += 1
        await asyncio.sleep(_TICK_S)
    return ticks

"""A step of a role, repeated for ever: a back end that is away is waited for, and said once."""

from collections.abc import Awaitable, Callable

from hotsku.backoff import Backoff, end_if_cancelled
from hotsku.errors import BackendUnavailable
from hotsku.log import get_logger
from hotsku.ports import Lost

# A back end is away: the same step may be tried again.
AWAY = (Lost, BackendUnavailable)

_log = get_logger("workers")


async def repeat(role: str, step: Callable[[], Awaitable[None]]) -> None:
    """Run `step` again and again, with growing pauses while a back end is away. Ends only by cancellation, or by any
    other exception of `step`."""
    outage = Outage(role)
    while True:
        await once(outage, step)


async def once(outage: "Outage", step: Callable[[], Awaitable[None]]) -> None:
    """Run `step` until it worked, with growing pauses while a back end is away."""
    while True:
        end_if_cancelled()
        try:
            await step()
        except AWAY as error:
            await outage.wait(error)
        else:
            outage.over()
            return


class Outage:
    """The pauses of one outage, and its two log lines."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._backoff = Backoff()
        self._lasts = False

    async def wait(self, error: Exception) -> None:
        """A try failed."""
        if not self._lasts:
            self._lasts = True
            _log.warning("a back end is away, trying again", role=self._role, error=str(error))
        await self._backoff.pause()

    def over(self) -> None:
        """A try worked."""
        if self._lasts:
            self._lasts = False
            self._backoff.reset()
            _log.info("the back end is there again", role=self._role)

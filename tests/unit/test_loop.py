"""The loop that runs the roles."""

import asyncio

import pytest
from tests.support.workers import until

from hotsku.clock import SystemClock
from hotsku.workers.loop import WorkerLoop

pytestmark = pytest.mark.anyio


class Steady:
    """Works until it is cancelled."""

    name = "steady"

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0

    async def run(self) -> None:
        self.started += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


class Stumbling(Steady):
    """Fails twice before it works."""

    name = "stumbling"

    async def run(self) -> None:
        if self.started < 2:
            self.started += 1
            raise RuntimeError("stumbled")
        await super().run()


class Masked(Steady):
    """Its client library replaces a cancellation by a fault, as redis-py may."""

    name = "masked"

    async def run(self) -> None:
        try:
            await super().run()
        except asyncio.CancelledError:
            raise ConnectionError("could not close") from None


async def test_a_role_that_fails_is_started_again_and_the_others_go_on() -> None:
    steady, stumbling = Steady(), Stumbling()
    loop = WorkerLoop([steady, stumbling], SystemClock())
    loop.start()
    loop.start()
    await until(lambda: stumbling.started == 3)
    await loop.stop()
    assert (steady.started, steady.ended, stumbling.ended) == (1, 1, 1)
    assert not loop.running


async def test_it_stops_also_where_a_fault_hides_the_cancellation() -> None:
    masked = Masked()
    loop = WorkerLoop([masked], SystemClock())
    loop.start()
    await until(lambda: masked.started == 1)
    await loop.stop()
    assert (masked.started, masked.ended) == (1, 1)


async def test_it_runs_until_it_is_told_to_stop() -> None:
    steady, stop = Steady(), asyncio.Event()
    task = asyncio.create_task(WorkerLoop([steady], SystemClock()).run(stop))
    await until(lambda: steady.started == 1)
    stop.set()
    await task
    assert steady.ended == 1

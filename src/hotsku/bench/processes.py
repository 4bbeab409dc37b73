"""Callers in several processes at once, each with an engine of its own: `python -m hotsku.bench.processes`.

Such a process has its task in its environment. It says a line when it is ready, begins when it is told one, and says
what it measured, with its CPU, as JSON.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import uvloop
from msgspec import Struct

from hotsku.app import connect
from hotsku.bench.callers import closed_loop, tidy
from hotsku.bench.cpu import CpuMeter
from hotsku.bench.report import Measured
from hotsku.bench.rounds import Plan, Side
from hotsku.bench.selling import new_item, single_call
from hotsku.bench.servers import Shop
from hotsku.clock import SystemClock
from hotsku.settings import Settings

# More than a process can sell in a round: the numbers of its orders are its own.
_NUMBERS = 1_000_000_000
_TASK = "HOTSKU_BENCH_TASK"


class _Task(Struct, frozen=True):
    """What a process is to do."""

    settings: str
    sku: str
    first: int
    callers: int
    seconds: float


def several_side(plan: Plan, shop: Shop, *, processes: int, callers: int, partitions: int) -> Side:
    """Single calls on a fresh item, by `callers` callers in each of the processes."""

    async def side() -> Measured:
        sku = await new_item(shop, partitions)
        settings = shop.settings.model_dump_json(exclude={"api_keys", "receipt_keys"})
        tasks = [_Task(settings, sku, number * _NUMBERS, callers, plan.seconds) for number in range(processes)]

        async def selling() -> Measured:
            async with _started(tasks) as started:
                return _summed(await asyncio.gather(*map(_result, started)))

        measured = await shop.measured(selling(), clients_told=True)
        await shop.forget(sku)
        return measured

    return side


@asynccontextmanager
async def _started(tasks: Sequence[_Task]) -> AsyncIterator[list[Process]]:
    """The processes, once all of them have begun."""
    started = [await _start(task) for task in tasks]
    try:
        for process in started:
            await _line(process)
        for process in started:
            if process.stdin is not None:
                process.stdin.write(b"\n")
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _start(task: _Task) -> Process:
    environment = {**os.environ, _TASK: msgspec.json.encode(task).decode()}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hotsku.bench.processes"), stdin=PIPE, stdout=PIPE, env=environment
    )


async def _line(process: Process) -> bytes:
    line = b"" if process.stdout is None else await process.stdout.readline()
    if not line:
        raise RuntimeError("a process of callers has ended")
    return line


async def _result(process: Process) -> Measured:
    return msgspec.json.decode(await _line(process), type=Measured)


def _summed(all_of_them: Sequence[Measured]) -> Measured:
    """As one; the latencies are those of the process that fared worst."""
    return Measured(
        seconds=max(each.seconds for each in all_of_them),
        accepted=sum(each.accepted for each in all_of_them),
        rejected=sum(each.rejected for each in all_of_them),
        replayed=sum(each.replayed for each in all_of_them),
        p50_ms=max(each.p50_ms for each in all_of_them),
        p99_ms=max(each.p99_ms for each in all_of_them),
        client_cpu_s=sum(each.client_cpu_s for each in all_of_them),
    )


async def _work(task: _Task) -> None:
    clock = SystemClock()
    async with connect(Settings.model_validate_json(task.settings), workers=False) as stock:
        await stock.deduct_many(task.sku, [])  # loads the item
        tidy()
        _say("")
        await asyncio.to_thread(sys.stdin.readline)
        meter = CpuMeter([])
        call = single_call(stock, [task.sku])
        measured = meter.stop(await closed_loop(clock, call, task.callers, task.seconds, task.first))
    _say(msgspec.json.encode(measured).decode())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_work(msgspec.json.decode(os.environ[_TASK], type=_Task)))

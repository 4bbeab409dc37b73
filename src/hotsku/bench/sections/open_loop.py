"""Latency when requests arrive at a fixed rate, whether or not earlier ones were answered."""

import asyncio
from pathlib import Path

from hotsku.bench.callers import Call, Heard, closed_loop, tidy
from hotsku.bench.report import Chart, Figure, Measured, Section
from hotsku.bench.rounds import Plan, Side, alternate
from hotsku.bench.selling import new_item, single_call
from hotsku.bench.servers import Shop, open_shop
from hotsku.cli.histogram import bucket_ms, bucket_of

NAME = "open-loop"
CALLERS = 512
PARTITIONS = 8
LOADS = (50, 80)  # percent of the peak
_TICK_S = 0.001
# Of a closed loop's rate, for so long: more than can be answered, and no more than waits within the engine's patience.
_TOO_MANY, _TOO_MANY_S = 0.6, 1.0
# Four of the histogram's buckets, a quarter of an octave, are one bar.
_BUCKETS_A_BAR = 4


async def measure(plan: Plan, folder: Path) -> Section:
    """A latency runs from the moment that the request was due, so a stall counts against all that it delayed."""
    async with open_shop(plan.settings, folder) as shop:
        peak = await _peak(plan, shop)
        latencies: dict[str, list[float]] = {}
        sides: dict[str, Side] = {}
        for load in LOADS:
            name = f"{load} % of the peak"
            latencies[name] = []
            sides[name] = _side(plan, shop, peak * load / 100, latencies[name])
        rows = await alternate(plan, sides)
    section = Section(name=NAME, title="Open loop: requests arrive at a fixed rate", rows=rows)
    section.figures = [Figure(name="the peak: answers where more arrives than can be answered", value=peak, unit="/s")]
    for row, load in zip(rows, LOADS, strict=True):
        section.figures.append(Figure(name=f"arrivals at {row.name}", value=peak * load / 100, unit="/s"))
    section.charts = [histogram(latencies)]
    return section


def histogram(latencies: dict[str, list[float]]) -> Chart:
    """How many percent of each side's requests took how long."""
    counts: dict[str, dict[int, int]] = {name: {} for name in latencies}
    for name, values in latencies.items():
        for ms in values:
            bar = bucket_of(ms) // _BUCKETS_A_BAR
            counts[name][bar] = counts[name].get(bar, 0) + 1
    every = {bar for of_side in counts.values() for bar in of_side}
    bars = range(min(every, default=0), max(every, default=-1) + 1)
    return Chart(
        title="Latency from the moment a request was due: percent of requests by ms",
        labels=[f"{bucket_ms(bar * _BUCKETS_A_BAR):.2g}" for bar in bars],
        series={
            name: [100 * of_side.get(bar, 0) / max(1, len(latencies[name])) for bar in bars]
            for name, of_side in counts.items()
        },
    )


async def _peak(plan: Plan, shop: Shop) -> float:
    """What is answered where more arrives than can be. It is less than a closed loop has answered: a caller that waits
    costs less than one that arrives, and what arrives evenly makes smaller batches."""
    plan.say("the peak")
    sku = await new_item(shop, PARTITIONS)
    call = single_call(shop.stock, [sku])
    closed = await closed_loop(plan.clock, call, CALLERS, plan.seconds)
    start_ms = plan.clock.monotonic_ms()
    heard = await open_loop(plan, call, closed.per_s * _TOO_MANY, min(plan.seconds, _TOO_MANY_S), closed.answers)
    seconds = (plan.clock.monotonic_ms() - start_ms) / 1000
    await shop.forget(sku)
    return heard.measured(seconds).per_s


def _side(plan: Plan, shop: Shop, per_s: float, latencies: list[float]) -> Side:
    async def side() -> Measured:
        sku = await new_item(shop, PARTITIONS)

        async def selling() -> Measured:
            heard = await open_loop(plan, single_call(shop.stock, [sku]), per_s, plan.seconds)
            latencies.extend(heard.latencies)
            return heard.measured(plan.seconds)

        measured = await shop.measured(selling())
        await shop.forget(sku)
        return measured

    return side


async def open_loop(plan: Plan, call: Call, per_s: float, seconds: float, first: int = 0) -> Heard:
    """Requests `first`, `first` + 1, … at `per_s` for some seconds, evenly, until all are answered; those of a
    millisecond are begun together."""
    clock, heard = plan.clock, Heard()
    tidy()
    start_ms = clock.monotonic_ms()
    total, begun = int(per_s * seconds), 0

    async def request(number: int, due_ms: float) -> None:
        answer = await call(first + number)
        heard.note(answer, clock.monotonic_ms() - due_ms)

    async with asyncio.TaskGroup() as group:
        while begun < total:
            due = min(total, int((clock.monotonic_ms() - start_ms) * per_s / 1000) + 1)
            for number in range(begun, due):
                group.create_task(request(number, start_ms + number * 1000 / per_s))
            begun = due
            await asyncio.sleep(_TICK_S)
    return heard

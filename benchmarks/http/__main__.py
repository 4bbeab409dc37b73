"""`python -m benchmarks.http`: all sides in turns, their medians, and whether the route reaches what it is to reach."""

import argparse
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.http import sides

CONNECTIONS = 64
_PEAK_SHARE = 0.8

Measure = Callable[[], Awaitable[dict[str, Any]]]


async def measure_all(rounds: int, seconds: float, partitions: int | None) -> dict[str, Any]:
    """Measure. Returns each side's medians, the open loop, and the ratios."""
    async with AsyncExitStack() as exits:
        folders = [Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="hs-", dir="/tmp"))) for _ in range(2)]
        constant = await exits.enter_async_context(sides.constant())
        tutorial = await exits.enter_async_context(sides.tutorial(folders[0]))
        route = await exits.enter_async_context(sides.route(folders[1], partitions))

        async def with_ledger() -> dict[str, Any]:
            return await route.measure(seconds, CONNECTIONS)

        async def without() -> dict[str, Any]:
            with sides.ledger_held(folders[1] / ".hotsku"):
                figures = await route.measure(seconds, CONNECTIONS)
            await sides.ledger_followed(route.port)
            return figures

        measures: dict[str, Measure] = {
            "constant": lambda: constant.measure(seconds, CONNECTIONS),
            "route": with_ledger,
            "route, ledger held": without,
            "tutorial": lambda: tutorial.measure(seconds, CONNECTIONS),
        }
        found = await _in_turns(measures, rounds)
        rate = _PEAK_SHARE * found["route"]["per_s"]
        open_loops = [await route.measure(seconds, CONNECTIONS, rate) for _ in range(rounds)]
        await sides.ledger_followed(route.port)
    found["route at 80% of its peak"] = _medians(open_loops)
    return {"sides": found, "ratios": _ratios(found)}


async def _in_turns(measures: dict[str, Measure], rounds: int) -> dict[str, dict[str, float]]:
    """Warm each side up, then measure all of them in every round, every other round backwards."""
    for measure in measures.values():
        await measure()
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: 1 if number % 2 == 0 else -1]:
            seen[name].append(await measures[name]())
            print(f"round {number + 1} of {rounds}: {name} {seen[name][-1]['per_s']:,.0f}/s", file=sys.stderr)
    return {name: _medians(figures) for name, figures in seen.items()}


def _medians(figures: list[dict[str, Any]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in figures), 2) for name in ("per_s", "p50_ms", "p99_ms", "cpu_us")}


def _ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    per_s = {name: figures["per_s"] for name, figures in found.items()}
    return {
        "route to constant": round(per_s["route"] / per_s["constant"], 2),
        "route, ledger held, to constant": round(per_s["route, ledger held"] / per_s["constant"], 2),
        "route to tutorial": round(per_s["route"] / per_s["tutorial"], 2),
        "CPU of the server, constant to route": round(found["constant"]["cpu_us"] / found["route"]["cpu_us"], 2),
    }


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--partitions", type=int, help="of the item; by default as create_item chooses")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    report = uvloop.run(measure_all(arguments.rounds, arguments.seconds, arguments.partitions))
    if arguments.json:
        print(json.dumps(report))
        return
    for name, figures in report["sides"].items():
        print(
            f"{name:28} {figures['per_s']:>10,.0f}/s  p50 {figures['p50_ms']:6.2f} ms  p99 {figures['p99_ms']:6.2f} ms"
            f"  CPU {figures['cpu_us']:5.1f} us"
        )
    for name, ratio in report["ratios"].items():
        print(f"{name:34} {ratio:.2f}")


if __name__ == "__main__":
    main()

"""`python -m benchmarks.http`: all sides in turns, their medians, and whether the route reaches what it is to reach."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.http import sides
from benchmarks.http.report import AT_80, CONSTANT, HELD, HELD_AT_80, ROUTE, TUTORIAL, Report, medians, words

CONNECTIONS = 64
_PEAK_SHARE = 0.8

# Loads a side; at a fixed rate of orders a second, or, where that is 0, as fast as it answers.
Measure = Callable[[float], Awaitable[dict[str, Any]]]


async def measure_all(rounds: int, seconds: float, partitions: int | None) -> Report:
    """Measure."""
    async with AsyncExitStack() as exits:
        folders = [Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="hs-", dir="/tmp"))) for _ in range(2)]
        constant = await exits.enter_async_context(sides.constant())
        tutorial = await exits.enter_async_context(sides.tutorial(folders[0]))
        route = await exits.enter_async_context(sides.route(folders[1], partitions))

        async def held(rate: float) -> dict[str, Any]:
            with sides.ledger_held(folders[1] / ".hotsku"):
                figures = await route.measure(seconds, CONNECTIONS, rate)
            await sides.ledger_followed(route.port)
            return figures

        async def following(rate: float) -> dict[str, Any]:
            figures = await route.measure(seconds, CONNECTIONS, rate)
            await sides.ledger_followed(route.port)
            return figures

        measures: dict[str, Measure] = {
            CONSTANT: lambda rate: constant.measure(seconds, CONNECTIONS, rate),
            ROUTE: following,
            HELD: held,
            TUTORIAL: lambda rate: tutorial.measure(seconds, CONNECTIONS, rate),
        }
        sides_measured = await _in_turns(measures, {ROUTE: AT_80, HELD: HELD_AT_80}, rounds)
        return Report(sides_measured, len(sides.CPUS) or os.cpu_count() or 1)


async def _in_turns(measures: dict[str, Measure], open_loops: dict[str, str], rounds: int) -> dict[str, Any]:
    """Warm each side up, then measure all of them in every round, every other round backwards.

    Args:
        open_loops: the sides that are measured in an open loop, too, and what that is called. Its rate is a share of
            what the side has just made: of another minute's, it may be more than the machine can do now.
    """
    for measure in measures.values():
        await measure(0)
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in [*measures, *open_loops.values()]}
    for number in range(rounds):
        for name in list(measures)[:: 1 if number % 2 == 0 else -1]:
            peak = await measures[name](0)
            seen[name].append(peak)
            print(f"round {number + 1} of {rounds}: {name} {peak['per_s']:,.0f}/s", file=sys.stderr)
            if name in open_loops:
                seen[open_loops[name]].append(await measures[name](_PEAK_SHARE * peak["per_s"]))
    return {name: medians(figures) for name, figures in seen.items()}


def main() -> int:
    """Measure and tell. Returns the exit status: 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--partitions", type=int, help="of the item; by default as create_item chooses")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    report = uvloop.run(measure_all(arguments.rounds, arguments.seconds, arguments.partitions))
    print(json.dumps(report.as_json()) if arguments.json else words(report))
    return 1 if any(target.met is False for target in report.targets) else 0


if __name__ == "__main__":
    sys.exit(main())

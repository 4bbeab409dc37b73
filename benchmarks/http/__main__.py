"""`python -m benchmarks.http`: all sides in turns, their medians, and whether the route reaches what it is to reach."""

import argparse
import json
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

Measure = Callable[[], Awaitable[dict[str, Any]]]


async def measure_all(rounds: int, seconds: float, partitions: int | None) -> Report:
    """Measure."""
    async with AsyncExitStack() as exits:
        folders = [Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="hs-", dir="/tmp"))) for _ in range(2)]
        constant = await exits.enter_async_context(sides.constant())
        tutorial = await exits.enter_async_context(sides.tutorial(folders[0]))
        route = await exits.enter_async_context(sides.route(folders[1], partitions))

        async def held(rate: float = 0) -> dict[str, Any]:
            with sides.ledger_held(folders[1] / ".hotsku"):
                figures = await route.measure(seconds, CONNECTIONS, rate)
            await sides.ledger_followed(route.port)
            return figures

        async def following(rate: float = 0) -> dict[str, Any]:
            figures = await route.measure(seconds, CONNECTIONS, rate)
            await sides.ledger_followed(route.port)
            return figures

        measures: dict[str, Measure] = {
            CONSTANT: lambda: constant.measure(seconds, CONNECTIONS),
            ROUTE: following,
            HELD: held,
            TUTORIAL: lambda: tutorial.measure(seconds, CONNECTIONS),
        }
        found = await _in_turns(measures, rounds)
        open_loops = [await following(_PEAK_SHARE * found[ROUTE]["per_s"]) for _ in range(rounds)]
        held_loops = [await held(_PEAK_SHARE * found[HELD]["per_s"]) for _ in range(rounds)]
    return Report(found | {AT_80: medians(open_loops), HELD_AT_80: medians(held_loops)})


async def _in_turns(measures: dict[str, Measure], rounds: int) -> dict[str, Any]:
    """Warm each side up, then measure all of them in every round, every other round backwards."""
    for measure in measures.values():
        await measure()
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: 1 if number % 2 == 0 else -1]:
            seen[name].append(await measures[name]())
            print(f"round {number + 1} of {rounds}: {name} {seen[name][-1]['per_s']:,.0f}/s", file=sys.stderr)
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
    return 0 if all(target.met for target in report.targets) else 1


if __name__ == "__main__":
    sys.exit(main())

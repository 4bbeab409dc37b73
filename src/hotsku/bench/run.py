"""A whole run: the chosen sections, one after the other, each in a folder of its own."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import hotsku
from hotsku.bench.machine import commit, describe
from hotsku.bench.report import Report, Section
from hotsku.bench.rounds import Plan
from hotsku.bench.sections import (
    brokers,
    bulk,
    costs,
    drain,
    growth,
    locks,
    masters,
    memory,
    open_loop,
    reject,
    single,
)
from hotsku.bench.servers import temporary_folder

_MODULES = (single, bulk, locks, drain, reject, growth, costs, brokers, memory, open_loop, masters)
SECTIONS: dict[str, Callable[[Plan, Path], Awaitable[Section]]] = {module.NAME: module.measure for module in _MODULES}


async def run_all(plan: Plan, names: list[str]) -> Report:
    """Measure the named sections."""
    with temporary_folder() as folder:
        machine = await describe(plan.clock, folder, dict(plan.urls))
    sections = []
    for name in names:
        with temporary_folder() as folder:
            plan.say(f"--- {name}")
            sections.append(await SECTIONS[name](plan, folder))
    return Report(
        hotsku=hotsku.__version__,
        commit=commit(),
        at=datetime.fromtimestamp(plan.clock.now_ms() // 1000, UTC).isoformat(),
        quick=plan.quick,
        rounds=plan.rounds,
        seconds_a_round=plan.seconds,
        machine=machine,
        sections=sections,
    )

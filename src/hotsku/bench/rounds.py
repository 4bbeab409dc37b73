"""Alternating rounds: each side in turn, again and again, so that what disturbs the machine disturbs them all."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from hotsku.bench.report import Measured, Row
from hotsku.ports import Clock
from hotsku.settings import Settings

Side = Callable[[], Awaitable[Measured]]


class Plan(Struct, frozen=True, kw_only=True):
    """What to measure with.

    Attributes:
        rounds, seconds: how many rounds, of about how many seconds each.
        quick: sections use less data.
        say: tells a person what is going on.
        urls: of the databases of other strategies, by name.
        brokers: the URLs of brokers, by name.
        drain_table: rows of the large table that the ledger also drains into; 0: none.
        settings: of HotSKU's stacks, but for their back ends.
    """

    rounds: int
    seconds: float
    quick: bool
    clock: Clock
    say: Callable[[str], None]
    urls: Mapping[str, str]
    brokers: Mapping[str, str]
    drain_table: int
    settings: Settings


async def alternate(plan: Plan, sides: Mapping[str, Side], notes: Mapping[str, str] | None = None) -> list[Row]:
    """Measure every side in each round; every other round in the opposite order. Returns a row each."""
    rows = {name: Row(name=name, note=(notes or {}).get(name, "")) for name in sides}
    for number in range(plan.rounds):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in names:
            plan.say(f"round {number + 1} of {plan.rounds}: {name}")
            rows[name].rounds = [*rows[name].rounds, await sides[name]()]
    return [row.summed_up() for row in rows.values()]

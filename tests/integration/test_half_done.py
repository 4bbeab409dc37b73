"""Changes that the ledger has, or may have, while a back end is away: who asked hears that nobody knows, and the same
again makes the change once."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.engines import Bench, open_bench
from tests.support.servers import TestServer

from hotsku import BackendUnavailable, HotSKUError, OutcomeUnknown
from hotsku.engine.inventory import Inventory
from hotsku.managing import Management
from hotsku.ports import Ledger, Unsure

pytestmark = pytest.mark.anyio

Change = Callable[[Inventory], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "create": lambda stock: stock.create_item("new", 10, partitions=2),
    "restock": lambda stock: stock.restock("sku", 5, "truck"),
    "shrink": lambda stock: stock.restock("sku", -5, "theft"),
    "pause": lambda stock: stock.pause("sku"),
    "resume": lambda stock: stock.resume("sku"),
    "close": lambda stock: stock.close_item("sku"),
    "open cart": lambda stock: stock.reserve_cart([{"sku": "sku"}], "c-1", ttl=timedelta(hours=1)),
    "confirm cart": lambda stock: stock.confirm_cart("c-0"),
    "release cart": lambda stock: stock.release_cart("c-0"),
}
# The call of the ledger that makes each.
MAKES = {
    "create": "create_item",
    "restock": "adjust",
    "shrink": "adjust",
    "pause": "set_item_state",
    "resume": "set_item_state",
    "close": "set_item_state",
    "open cart": "open_cart",
    "confirm cart": "decide_cart",
    "release cart": "decide_cart",
}
TOTALS = {"restock": 105, "shrink": 95}


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        await made.workers()
        engine = await made.engine()
        await engine.create_item("sku", 100, partitions=2)
        await engine.reserve_cart([{"sku": "sku"}], "c-0", ttl=timedelta(hours=1))
        yield made


@contextmanager
def stopped(server: TestServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@pytest.mark.parametrize("change", ["create", "restock", "shrink"])
async def test_without_shards_nobody_knows_how_it_went_on(bench: Bench, change: str) -> None:
    engine = await bench.engine(call_timeout_s=0.2)
    with stopped(bench.server), pytest.raises(OutcomeUnknown, match="call again"):
        await CHANGES[change](engine)
    patient = await bench.engine()
    await CHANGES[change](patient)
    assert (await patient.item("sku")).total == TOTALS.get(change, 100)


class Trouble:
    """A ledger that is away from one of its calls on.

    Args:
        when: "before": the call is not made. "meanwhile": it is, and nobody hears its answer. "after": it is answered.
    """

    def __init__(self, ledger: Ledger, name: str, when: str) -> None:
        self._ledger = ledger
        self._name = name
        self._when = when
        self._away = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        return partial(self._call, name, found) if inspect.iscoroutinefunction(found) else found

    async def _call(self, name: str, found: Callable[..., Awaitable[object]], *args: object, **more: object) -> object:
        met = name == self._name
        if self._away or (met and self._when == "before"):
            raise BackendUnavailable("away")
        self._away = met
        answer = await found(*args, **more)
        if met and self._when == "meanwhile":
            raise Unsure("no answer")
        return answer


@pytest.mark.parametrize(("when", "heard"), [("before", BackendUnavailable), ("meanwhile", OutcomeUnknown)])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_said_of_a_change_without_an_answer_is_true(
    bench: Bench, change: str, when: str, heard: type[HotSKUError]
) -> None:
    engine = await bench.engine(ledger=cast(Ledger, Trouble(bench.stack.ledger, MAKES[change], when)))
    with pytest.raises(heard):
        await CHANGES[change](engine)
    await CHANGES[change](await bench.engine())
    assert (await bench.stack.ledger.items("o", 1))[0].spec.total == TOTALS.get(change, 100)


@pytest.mark.parametrize("change", [change for change in CHANGES if "cart" not in change])
async def test_a_change_after_which_the_ledger_is_away(bench: Bench, change: str) -> None:
    engine = await bench.engine(ledger=cast(Ledger, Trouble(bench.stack.ledger, MAKES[change], "after")))
    with pytest.raises(OutcomeUnknown, match="is in the ledger"):
        await CHANGES[change](engine)
    await CHANGES[change](await bench.engine())
    assert (await bench.stack.ledger.items("o", 1))[0].spec.total == TOTALS.get(change, 100)


async def test_a_shrink_that_does_not_get_its_units_was_not_made(bench: Bench) -> None:
    engine = await bench.engine(call_timeout_s=0.2)
    engine.__dict__["_management"] = Management(
        bench.stack.ledger, bench.shard, bench.stack.signals, bench.stack.clock, patience_ms=0
    )
    with stopped(bench.server), pytest.raises(BackendUnavailable, match="not enough units"):
        await engine.restock("sku", -90, "theft")
    assert (await bench.stack.ledger.items(None, 1))[0].spec.total == 100

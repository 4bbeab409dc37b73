"""The public API as a strict type checker sees it: what a caller gets, and which mistakes are seen before they run."""

import sys
from pathlib import Path

import pytest
from mypy import api

import hotsku
import hotsku.sync

PACKAGE = Path(hotsku.__file__).parent

# `assert_type` is what a caller gets. An ignore that nothing needs is an error: so each marks a mistake that is seen.
SNIPPET = """
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import assert_type

import hotsku
import hotsku.sync
from hotsku import (
    AuditReport, Deduction, EventKind, HotSKUError, Inventory, ItemView, Order, OrderEvent, OrderState, Outcome,
    PartitionView, Settings
)


async def sell(stock: Inventory) -> None:
    assert_type(await stock.create_item("sku", total=10), ItemView)
    await stock.create_item(
        "sku", 10, partitions=None, limit_per_buyer=2, opens_at=None, closes_at=None, hold_ttl=timedelta(minutes=1),
        routing="round_robin", refund_restores_limit=False,
    )
    assert_type(await stock.item("sku"), ItemView)
    assert_type(await stock.items(after=None, limit=10), list[ItemView])
    assert_type(await stock.partitions("sku"), list[PartitionView])
    assert_type(await stock.audit(), AuditReport)
    assert_type((await stock.audit("sku")).ok, bool)
    assert_type(await stock.order("sku", "o-1", buyer_id="u-7"), Deduction)

    deduction = await stock.deduct("sku", 1, order_id="o-1", buyer_id="u-7")
    assert_type(deduction, Deduction)
    assert_type(deduction.outcome, Outcome)
    assert_type(deduction.state, OrderState | None)
    assert_type(deduction.replayed, bool)
    assert_type(deduction.quantity, int)
    assert_type(deduction.available, int | None)
    assert_type(deduction.expires_at, datetime | None)
    assert_type(deduction.receipt, str | None)
    deduction.quantity = 2  # type: ignore[misc]

    assert_type(deduction.refund_payment_ref, str | None)
    held = await stock.reserve("sku", 1, order_id="o-3", buyer_id="u-7", ttl=timedelta(minutes=15), metadata="seat 4")
    assert_type(held, Deduction)
    assert_type(await stock.begin_payment("sku", order_id="o-3", buyer_id="u-7"), Deduction)
    assert_type(await stock.extend("sku", order_id="o-3", buyer_id="u-7", ttl=timedelta(minutes=5)), Deduction)
    assert_type(await stock.confirm("sku", order_id="o-3", buyer_id="u-7", payment_ref="pay-9"), Deduction)
    assert_type(await stock.release("sku", order_id="o-3"), Deduction)
    assert_type(await stock.refund("sku", order_id="o-3", quantity=1), Deduction)
    assert_type(await stock.orders("sku", state=OrderState.HELD, older_than=timedelta(hours=1)), list[Deduction])
    assert_type(await stock.orders("sku", state="held", after=held, limit=10), list[Deduction])
    events = await stock.order_history("sku", "o-3", "u-7")
    assert_type(events, list[OrderEvent])
    assert_type(events[0].kind, EventKind)
    await stock.extend("sku", order_id="o-3")  # type: ignore[call-arg]
    await stock.reserve("sku", 1, order_id="o-4", ttl=900)  # type: ignore[arg-type]
    await stock.confirm("sku", "o-3")  # type: ignore[call-arg]

    many = await stock.deduct_many("sku", [Order("o-1"), {"order_id": "o-2", "quantity": 2}])
    assert_type(many, list[Deduction | HotSKUError])

    await stock.deduct("sku", "1")  # type: ignore[arg-type]
    await stock.deduct("sku", 1.5)  # type: ignore[arg-type]
    await stock.deduct("sku", 1, "o-1")  # type: ignore[call-arg]
    await stock.deduct("sku", 1, buyer_id=None)  # type: ignore[arg-type]
    await stock.create_item("sku", 10, routing="nearest")  # type: ignore[arg-type]
    await stock.create_item("sku", 10, hold_ttl=900)  # type: ignore[arg-type]
    await stock.create_item("sku")  # type: ignore[call-arg]


async def main() -> None:
    context: AbstractAsyncContextManager[Inventory, bool | None] = hotsku.connect()
    async with context as stock:
        assert_type(stock, Inventory)
    async with hotsku.connect(workers=True, shard_url="embedded:./.hotsku") as stock:
        assert_type(stock, Inventory)
    async with hotsku.connect(Settings()) as stock:
        await sell(stock)
    hotsku.connect(workers="yes")  # type: ignore[arg-type]


def blocking() -> None:
    with hotsku.sync.connect(workers=False) as stock:
        assert_type(stock.deduct("sku", 1, order_id="o-1", buyer_id="u-7"), Deduction)
        assert_type(stock.deduct_many("sku", [Order("o-1")]), list[Deduction | HotSKUError])
        assert_type(stock.create_item("sku", total=10, partitions=8), ItemView)
        assert_type(stock.items(), list[ItemView])
        assert_type(stock.audit(), AuditReport)
        assert_type(stock.reserve("sku", 1, order_id="o-1", ttl=timedelta(minutes=1)), Deduction)
        assert_type(stock.confirm("sku", order_id="o-1", payment_ref="pay-1"), Deduction)
        assert_type(stock.order_history("sku", "o-1"), list[OrderEvent])
        stock.deduct("sku", "1")  # type: ignore[arg-type]
        stock.deduct("sku", order=1)  # type: ignore[call-arg]
    with hotsku.sync.connect(Settings()) as stock:
        stock.item(42)  # type: ignore[arg-type]
"""


def checked(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `mypy --strict` says of the code; nothing where it has nothing to say."""
    snippet = folder / "snippet.py"
    snippet.write_text(code)
    monkeypatch.setenv("MYPYPATH", str(PACKAGE.parent))
    words, errors, _ = api.run(
        [
            "--strict",
            "--config-file=",
            "--no-error-summary",
            "--follow-imports=silent",
            f"--python-executable={sys.executable}",
            f"--cache-dir={folder / 'cache'}",
            str(snippet),
        ]
    )
    return words.replace(f"{snippet}:", "line ") + errors


def test_a_caller_gets_what_the_interface_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(SNIPPET, tmp_path, monkeypatch) == ""
    # And it would be seen if it were otherwise.
    wrong = SNIPPET.replace("deduction.outcome, Outcome", "deduction.outcome, str").replace(
        "  # type: ignore[misc]", ""
    )
    said = checked(wrong, tmp_path, monkeypatch).splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["[assert-type]", "[misc]"]


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_blocking_twin_has_the_same_methods() -> None:
    # What callers in an event loop have: the gateway.
    only_async = {"close", "offer", "offer_step", "put_on_sale", "take_batch_sizes"}
    public = {name for name in dir(hotsku.Inventory) if not name.startswith("_")} - only_async
    assert public == {name for name in vars(hotsku.sync.BlockingInventory) if not name.startswith("_")}


def test_every_public_name_is_there() -> None:
    assert sorted(hotsku.__all__) == sorted(set(hotsku.__all__))
    assert all(hasattr(hotsku, name) for name in hotsku.__all__)

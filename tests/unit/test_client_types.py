"""The clients as a strict type checker sees them: the engine's types, and mistakes that are seen before they run."""

from pathlib import Path

import pytest
from tests.unit.test_api_types import checked

SNIPPET = """
from datetime import timedelta
from typing import assert_type

from hotsku import AuditReport, Deduction, HotSKUError, ItemView, Order, OrderEvent
from hotsku.client import BlockingClient, Client
from hotsku.domain.cart import Cart, CartLine


async def sell(stock: Client) -> None:
    assert_type(await stock.deduct("sku", 1, order_id="o-1", buyer_id="u-7", metadata="gift"), Deduction)
    assert_type(await stock.reserve("sku", ttl=timedelta(minutes=1)), Deduction)
    assert_type(await stock.deduct_many("sku", [Order("o-1")]), list[Deduction | HotSKUError])
    assert_type(await stock.confirm("sku", order_id="o-1", payment_ref="pay-9"), Deduction)
    assert_type(await stock.orders("sku", state="held", older_than=timedelta(minutes=1)), list[Deduction])
    assert_type(await stock.order_history("sku", "o-1"), list[OrderEvent])
    assert_type(await stock.reserve_cart([CartLine("sku", 2)], "c-1"), Cart)
    assert_type(await stock.create_item("sku", total=10), ItemView)
    assert_type(await stock.audit(), AuditReport)
    await stock.deduct("sku", "1")  # type: ignore[arg-type]
    await stock.extend("sku", order_id="o-1")  # type: ignore[call-arg]
    await stock.confirm("sku", "o-1")  # type: ignore[call-arg]


def blocking() -> None:
    with BlockingClient("http://host", api_key="k", budget_s=5) as stock:
        assert_type(stock.deduct("sku"), Deduction)
        assert_type(stock.items(limit=10), list[ItemView])
        stock.release("sku")  # type: ignore[call-arg]
        stock.create_item("sku", "10")  # type: ignore[arg-type]


async def main() -> None:
    async with Client("http://host") as stock:
        await sell(stock)
    Client("http://host", budget_s="5")  # type: ignore[arg-type]
"""


def test_a_caller_of_the_client_gets_what_the_engine_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(SNIPPET, tmp_path, monkeypatch) == ""
    wrong = SNIPPET.replace('stock.deduct("sku"), Deduction', 'stock.deduct("sku"), str')
    assert checked(wrong, tmp_path, monkeypatch).endswith("[assert-type]\n")

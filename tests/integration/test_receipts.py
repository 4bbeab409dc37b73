"""Receipts of real answers: which keys sign them, and that a replay has the same one wherever it is heard."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.engines import Bench, open_bench
from tests.support.servers import TestServer

import hotsku
from hotsku import Deduction, InvalidRequest, InvalidSettings, OrderState, Outcome, Settings
from hotsku.receipt_keys import receipt_keys
from hotsku.receipts import Receipt, Signer, read_keys, verify

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]

KEYS = {"k1": b"secret"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def bench(module_valkey: TestServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(module_valkey, tmp_path) as made:
        yield made


def _said(answer: Deduction) -> Receipt:
    assert answer.receipt is not None
    return verify(answer.receipt, KEYS)


async def test_a_replay_has_the_receipt_of_its_first_answer(bench: Bench) -> None:
    signer = Signer(bench.stack.ledger.ledger_id, KEYS)
    engine, other = await bench.engine(signer=signer), await bench.engine(signer=signer)
    await engine.create_item("sku", 100, partitions=2)
    for metadata in ("", "m · é"):
        order = f"sold-{metadata == ''}"
        first = await engine.deduct("sku", 2, order_id=order, buyer_id="b", metadata=metadata)
        again = await other.deduct("sku", 2, order_id=order, buyer_id="b")
        assert again.replayed
        assert first.receipt == again.receipt
        said = _said(again)
        assert (said.ledger_id, said.metadata) == (bench.stack.ledger.ledger_id, metadata)
        assert (said.order_id, said.buyer_id, said.quantity, said.outcome) == (order, "b", 2, Outcome.ACCEPTED)
        assert (said.incarnation, said.seq, said.partition) == (1, first.seq, first.partition)
    held = await engine.reserve("sku", 1, order_id="held", ttl=MINUTE, metadata="m")
    assert (await other.reserve("sku", 1, order_id="held")).receipt == held.receipt
    assert _said(held).expires_at == held.expires_at
    many = await engine.deduct_many(
        "sku", [{"order_id": "x"}, {"order_id": "sold-True", "buyer_id": "b", "quantity": 2}]
    )
    assert [_said(answer).order_id for answer in many if isinstance(answer, Deduction)] == ["x", "sold-True"]


async def test_a_steps_receipt_is_the_same_when_it_is_heard_again(bench: Bench) -> None:
    signer = Signer(bench.stack.ledger.ledger_id, KEYS)
    engine, other = await bench.engine(signer=signer), await bench.engine(signer=signer)
    await engine.create_item("sku", 100)
    birth = await engine.reserve("sku", 3, order_id="o", ttl=MINUTE)
    first = await engine.confirm("sku", order_id="o", payment_ref="pay")
    assert (await other.confirm("sku", order_id="o", payment_ref="pay")).receipt == first.receipt != birth.receipt
    assert (await other.order("sku", "o")).receipt == first.receipt
    step = _said(first).step
    assert step is not None
    assert (step.state, step.payment_ref, step.refunded, step.seq) == (OrderState.CONFIRMED, "pay", 0, 2)
    assert _said(first).seq == 1
    # The birth stands, whatever came of it.
    replay = await other.reserve("sku", 3, order_id="o")
    assert (replay.state, replay.receipt) == (OrderState.CONFIRMED, birth.receipt)
    back = await engine.refund("sku", order_id="o", quantity=1)
    refunded = _said(back).step
    assert refunded is not None
    assert (refunded.refunded, refunded.state, refunded.seq) == (1, OrderState.CONFIRMED, 3)


async def test_a_no_has_no_receipt(bench: Bench) -> None:
    engine = await bench.engine(signer=Signer(bench.stack.ledger.ledger_id, KEYS))
    await bench.workers()
    await engine.create_item("sku", 1)
    await engine.deduct("sku", 1, order_id="o")
    assert (await engine.deduct("sku", 1, order_id="p")).receipt is None
    assert (await engine.confirm("sku", order_id="never")).receipt is None
    assert (await engine.order("sku", "never")).receipt is None


async def test_without_keys_there_are_no_receipts(bench: Bench) -> None:
    engine = await bench.engine()
    await engine.create_item("sku", 10)
    for answer in (
        await engine.deduct("sku", 1, order_id="o"),
        await engine.deduct("sku", 1, order_id="o"),
        await engine.confirm("sku", order_id="o"),
        await engine.order("sku", "o"),
    ):
        assert answer.receipt is None
        assert answer.seq == 1


async def test_the_settings_name_the_keys(module_valkey: TestServer, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("k2:new\nk1:secret\n")
    settings = Settings(
        shard_url=module_valkey.url,
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
        namespace="receipts",
        receipt_keys=f"@{tmp_path}/keys",
    )
    async with hotsku.connect(settings) as stock:
        await stock.create_item("sku", 10)
        token = (await stock.deduct("sku", 1, order_id="o")).receipt
    assert token is not None
    assert verify(token, {"k2": b"new"}).order_id == "o"
    with pytest.raises(InvalidRequest):
        verify(token, KEYS)
    (tmp_path / "keys").unlink()
    with pytest.raises(InvalidSettings, match="receipt_keys"):
        async with hotsku.connect(settings):
            pass


async def test_an_embedded_folder_has_keys_of_its_own(tmp_path: Path) -> None:
    settings = Settings(shard_url=f"embedded:{tmp_path}/e")
    tokens = []
    for order in ("o-1", "o-2"):  # one opening after another
        async with hotsku.connect(settings, workers=True) as stock:
            await stock.create_item("sku", 10)
            tokens.append((await stock.deduct("sku", 1, order_id=order)).receipt)
            tokens.append((await stock.deduct("sku", 1, order_id="o-1")).receipt)
    file = tmp_path / "e" / "receipt.keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    keys = read_keys(f"@{file}")
    assert [verify(token or "", keys).order_id for token in tokens] == ["o-1", "o-1", "o-2", "o-1"]
    assert tokens[0] == tokens[1] == tokens[3]
    assert len(next(iter(keys.values()))) >= 32


_MAKES = """
import sys
from hotsku.receipt_keys import receipt_keys
from hotsku.settings import Settings
settings = Settings(shard_url="embedded:" + sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
print(dict(receipt_keys(settings)))
"""


async def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    makers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _MAKES, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert await maker.stdout.readline() == b"ready\n"
    said = {output for output, _ in await asyncio.gather(*(maker.communicate(b"") for maker in makers))}
    assert len(said) == 1
    assert os.listdir(tmp_path) == ["receipt.keys"]  # noqa: PTH208  # no draft is left


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"^receipt_keys: .*nowhere/receipt.keys cannot be made"):
        receipt_keys(Settings(shard_url=f"embedded:{tmp_path}/nowhere"))
    assert receipt_keys(Settings(shard_url="redis://h")) == {}

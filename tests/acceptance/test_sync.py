"""The blocking twin: the same answers, coalesced across threads, and nothing that hangs."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.databases import rows_at
from tests.support.engines import accepted_units, outcomes
from tests.support.servers import TestServer

import hotsku
import hotsku.sync
from hotsku import OrderState, Outcome, Settings

pytestmark = pytest.mark.usefixtures("patient")

_THREADS = 32


@pytest.fixture
def settings(valkey: TestServer, tmp_path: Path) -> Settings:
    return Settings(shard_url=valkey.url, ledger_url=f"sqlite:///{tmp_path}/ledger.db", relay_interval_ms=50)


@pytest.fixture
def stock(settings: Settings) -> "Iterator[hotsku.sync.BlockingInventory]":
    with hotsku.sync.connect(settings, workers=True) as made:
        yield made


def _sold(settings: Settings) -> tuple[int, int]:
    """(orders, units) in the ledger."""
    ((orders, units),) = rows_at(settings.ledger_url, "SELECT count(*), sum(quantity) FROM deductions")
    return orders, units or 0


def test_many_threads_share_batches_and_sell_every_unit_once(settings: Settings, valkey: TestServer) -> None:
    with hotsku.sync.connect(settings, workers=True) as stock:
        stock.create_item("sku", 1001, partitions=1)
        with ThreadPoolExecutor(_THREADS) as threads:
            orders = [f"o-{n % 1500}" for n in range(1800)]  # some come twice
            answers = list(threads.map(lambda order: stock.deduct("sku", 1, order_id=order), orders))
        sold_out = [a for a in answers if a.outcome is Outcome.SOLD_OUT]
        assert outcomes(answers).keys() == {"accepted", "sold_out"}
        assert accepted_units(answers) == 1001
        assert not {a.order_id for a in sold_out} & {a.order_id for a in answers if a.outcome is Outcome.ACCEPTED}
        entries = stock.partitions("sku")[0].seq
        assert entries == 1001
        batches = _calls(valkey, "fcall")
        assert batches < 1800 / 2, "the calls of 32 threads were not coalesced"
    assert _sold(settings) == (1001, 1001)  # leaving has sent on what was sold


def _calls(server: TestServer, command: str) -> int:
    import redis

    with redis.Redis(unix_socket_path=str(server.socket), socket_timeout=60) as client:
        return int(client.info("commandstats")[f"cmdstat_{command}"]["calls"])


def test_it_answers_as_the_asynchronous_one_does(stock: "hotsku.sync.BlockingInventory") -> None:
    assert stock.create_item("sku", 10, partitions=2).total == 10
    assert stock.deduct("sku", 3, order_id="o", buyer_id="b").outcome is Outcome.ACCEPTED
    assert stock.deduct("sku", 3, order_id="o", buyer_id="b").replayed
    assert outcomes(stock.deduct_many("sku", [{"order_id": "x"}, hotsku.Order("y", 2)])) == {"accepted": 2}
    assert stock.order("sku", "o", "b").quantity == 3
    assert [item.sku for item in stock.items()] == ["sku"]
    assert stock.item("sku").available == 4
    held = stock.reserve("sku", 2, order_id="h", buyer_id="b", ttl=timedelta(minutes=1), metadata="m")
    assert (held.outcome, held.metadata) == (Outcome.HELD, "m")
    assert stock.extend("sku", order_id="h", buyer_id="b", ttl=timedelta(minutes=2)).outcome is Outcome.HELD
    assert stock.begin_payment("sku", order_id="h", buyer_id="b").outcome is Outcome.HELD
    assert stock.confirm("sku", order_id="h", buyer_id="b", payment_ref="pay").payment_ref == "pay"
    assert stock.refund("sku", order_id="h", buyer_id="b", quantity=1).refunded == 1
    assert stock.release("sku", order_id="h", buyer_id="b").outcome is Outcome.CONFIRMED
    assert stock.order("sku", "h", "b").state is OrderState.CONFIRMED
    assert stock.orders("sku", state=OrderState.RELEASED) == []
    assert stock.order_history("sku", "never") == []
    assert stock.audit("sku").ok
    with pytest.raises(hotsku.InvalidRequest, match="quantity"):
        stock.deduct("sku", 0)
    with pytest.raises(hotsku.IdempotencyConflict):
        stock.deduct("sku", 4, order_id="o", buyer_id="b")
    with pytest.raises(hotsku.UnknownItem):
        stock.item("nowhere")
    assert stock.deduct.__doc__


def test_leaving_by_an_error_leaves_no_thread(settings: Settings) -> None:
    before = threading.active_count()

    def fail() -> None:
        with hotsku.sync.connect(settings, workers=True) as stock:
            stock.create_item("sku", 10)
            stock.deduct("sku", 1)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    another_ledger = settings.model_copy(update={"ledger_url": f"{settings.ledger_url}2"})
    with pytest.raises(hotsku.InvalidSettings, match="another ledger"), hotsku.sync.connect(another_ledger):
        pass
    assert threading.active_count() <= before
    assert _sold(settings) == (1, 1)


def test_a_call_that_comes_too_late_is_an_error_and_does_not_hang(settings: Settings) -> None:
    with hotsku.sync.connect(settings, workers=True) as stock:
        stock.create_item("sku", 10)
    with pytest.raises(hotsku.BackendUnavailable):
        stock.deduct("sku", 1)


_INTERRUPTED = """
import sys, threading, hotsku, hotsku.sync
with hotsku.sync.connect(workers=True) as stock:
    stock.create_item("sku", 1_000_000)
    def buy(thread):
        n = 0
        while True:
            stock.deduct("sku", 1, order_id=f"{thread}-{n}")
            n += 1
    for thread in range(4):
        threading.Thread(target=buy, args=(thread,), daemon=True).start()
    print("selling", flush=True)
    n = 0
    while True:
        stock.deduct("sku", 1, order_id=f"main-{n}")
        n += 1
"""


def test_ctrl_c_ends_everything(settings: Settings, tmp_path: Path) -> None:
    environment = os.environ | {"HOTSKU_SHARD_URL": settings.shard_url, "HOTSKU_LEDGER_URL": settings.ledger_url}
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "selling\n"
        while _sold(settings)[0] < 100:
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "was destroyed but it is pending" not in errors
    assert "was never retrieved" not in errors
    with hotsku.sync.connect(settings, workers=True) as stock:
        item = stock.item("sku")
        assert item.sold == 1_000_000 - item.actual
        report = stock.audit("sku")
        assert report.ok
        assert report.at_rest  # it had sent on all that it sold


def test_an_interrupted_start_leaves_nothing(settings: Settings, valkey: TestServer) -> None:
    """Ctrl-C while it connects: what was opened so far is closed."""
    code = """
import _thread, threading, hotsku.app, hotsku.sync
opened = threading.Event()
real = hotsku.app.running_workers
def slow(*args, **kwargs):
    opened.set()
    return real(*args, **kwargs)
hotsku.app.running_workers = slow
threading.Thread(target=lambda: (opened.wait(), _thread.interrupt_main()), daemon=True).start()
try:
    with hotsku.sync.connect(workers=True) as stock:
        while True:
            pass
except KeyboardInterrupt:
    print("interrupted", threading.active_count() <= 2)
"""
    environment = os.environ | {"HOTSKU_SHARD_URL": settings.shard_url, "HOTSKU_LEDGER_URL": settings.ledger_url}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout == "interrupted True\n", done.stderr
    assert "pending" not in done.stderr

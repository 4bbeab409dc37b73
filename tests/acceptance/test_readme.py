"""The Python and the SQL in the documents run as they stand, on an embedded folder, and say what the pages say."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.documents import blocks, page
from tests.support.folder_processes import Folder, embedded_folder, eventually

_README = page("README.md")
_SUBSCRIBER = blocks(page("docs/messages.md"), "python")[0]


@pytest.fixture
def folder() -> Iterator[Folder]:
    """`.hotsku` in a folder of its own; at the end its server and its worker must be gone."""
    with embedded_folder(".hotsku") as made:
        yield made


def _run(code: str, here: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOTSKU_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_readme_and_the_sql_of_the_operations_page(folder: Folder) -> None:
    example, *_ = blocks(_README, "python")
    said = _run(example, folder.path.parent)
    assert said in blocks(_README, "text"), said
    eventually(folder.ended, "the worker has brought everything to the ledger")
    statements = blocks(page("docs/operations.md"), "sql")
    (quarantine,) = [each for each in statements if each.startswith("UPDATE partitions SET quarantined_until")]
    sold, conserved, wrong = (each for each in statements if each.startswith(("SELECT", "WITH")))
    with closing(sqlite3.connect(folder.path / "ledger.db")) as ledger:
        assert ledger.execute(sold).fetchall() == [(100, 100)]
        assert [(sku, total, difference) for sku, total, *_, difference in ledger.execute(conserved)] == [
            ("sneaker-42", 100, 0)
        ]
        assert ledger.execute(wrong).fetchall() == []
        assert ledger.execute(quarantine).rowcount == 0


def test_the_example_has_about_15_lines() -> None:
    example, *_ = blocks(_README, "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 16


def test_the_subscriber_of_the_messages_page(folder: Folder) -> None:
    """It prints every event of a small sale once, though it reads everything twice."""
    sale = """
import asyncio, hotsku
async def main():
    async with hotsku.connect(relay_interval_ms=10) as stock:
        await stock.create_item("sneaker-42", 100, partitions=4)
        await stock.deduct_many("sneaker-42", [{"order_id": f"o-{n}"} for n in range(20)])
        while (await stock.item("sneaker-42")).sold < 20:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(subscribe)
def subscribe():
    seen = [event["order_id"] for _ in range(2) for event in new_events(".hotsku/valkey.sock", "reader-1", once=True)]
    print(len(seen), len(set(seen)))
asyncio.run(main())
"""
    assert _run(_SUBSCRIBER + sale, folder.path.parent) == "20 20\n"

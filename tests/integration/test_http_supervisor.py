"""The processes of `hotsku serve`, kept: what is ready has taken requests, and is never killed for another's sake."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.workers import until

from hotsku.clock import SystemClock
from hotsku.http.supervisor import Failed, Job, Kept, start_all

pytestmark = pytest.mark.anyio


def kept(note: Path, *, ready: bool, module: str = "tests.support.kept_process") -> Kept:
    told = json.dumps({"ready": ready, "note": str(note)}).encode()
    return Kept(Job(note.name, module, told, patience_s=60.0), SystemClock())


async def test_a_stop_while_others_start_ends_in_order_what_is_ready(tmp_path: Path) -> None:
    first, second = kept(tmp_path / "first", ready=True), kept(tmp_path / "second", ready=False)
    starting = asyncio.create_task(start_all([first, second]))
    await until((tmp_path / "second.begun").exists)  # the first starts alone: it is ready
    starting.cancel()
    await asyncio.wait([starting])
    await asyncio.gather(first.stop(), second.stop())
    assert (tmp_path / "first").read_text() == "ended in order"
    assert not (tmp_path / "second").exists()


async def test_one_that_cannot_start_does_not_kill_what_is_ready(tmp_path: Path) -> None:
    first, second = kept(tmp_path / "first", ready=True), kept(tmp_path / "second", ready=True, module="no.such.module")
    with pytest.raises(Failed, match="second"):
        await start_all([first, second])
    await asyncio.gather(first.stop(), second.stop())
    assert (tmp_path / "first").read_text() == "ended in order"

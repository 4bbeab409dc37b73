"""`demo` and `replay` as processes on an embedded folder, with and without disasters."""

import json
import os
import pty
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.commands import Done, Shell, finish, processes, wait_for_words
from tests.support.folder_processes import Folder, embedded_folder, eventually

_LOG = """\
at,sku,quantity,order_id,buyer_id
2026-11-27T20:00:00Z,plenty,2,o-1,u-1
2026-11-27T20:00:01Z,short,2,o-2,u-2
2026-11-27T20:00:02Z,short,1,o-3,u-3
2026-11-27T20:00:03Z,plenty,2,o-1,u-1
2026-11-27T20:00:04Z,plenty,zero,o-4,u-4
2026-11-27T20:00:05Z,short,1,o-5,u-5
2026-11-27T20:00:06Z,plenty,3,o-1,u-1
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Folder]:
    """One folder for the tests of this module; at its end the server and the worker must be gone."""
    with embedded_folder(".hotsku") as made:
        yield made


@pytest.fixture(scope="module")
def shell(folder: Folder) -> Shell:
    return Shell(folder.path.parent)


def _counted(folder: Folder, sku: object) -> tuple[int, int]:
    """Units and orders of the item, as plain SQL counts them."""
    with closing(sqlite3.connect(folder.path / "ledger.db")) as ledger:
        query = "SELECT coalesce(sum(quantity), 0), count(*) FROM deductions d JOIN items i ON i.id = d.item_id"
        units, orders = ledger.execute(f"{query} WHERE i.sku = ?", (sku,)).fetchone()
    return units, orders


def _assert_exact(done: Done, folder: Folder) -> None:
    answer = done.json
    assert done.status == 0, done
    zeros = {name: answer[name] for name in ("oversold", "unsold", "doubled")}
    assert set(zeros.values()) == {0}, done
    assert answer["audit_ok"] is True
    assert answer["accepted"] == answer["ledger_sold"] == _counted(folder, answer["sku"])[0]
    assert answer["duplicates"] >= 0.05 * answer["requests"]  # type: ignore[operator]


def test_a_demo_is_exact(shell: Shell, folder: Folder) -> None:
    done = shell.run("demo", "--buyers", "5000", "--stock", "701", "--json")
    _assert_exact(done, folder)
    assert (done.json["stock"], done.json["ledger_sold"], done.json["rejected"]) == (701, 701, 4299)
    assert done.json["rejected_by"] == {"sold_out": 4299}


def test_a_demo_of_several_units_an_order_ends_in_a_report_for_people(shell: Shell) -> None:
    done = shell.run("demo", "--buyers", "3000", "--stock", "997", "--max-quantity", "5", "--partitions", "50")
    assert done.status == 0, done
    assert "exact: 997 of 997" in done.out
    assert "stock left" in done.out


@pytest.mark.parametrize("victim", ["server", "worker", "client"])
def test_a_demo_survives_kill_9(shell: Shell, folder: Folder, victim: str) -> None:
    big = ("--buyers", "40000", "--stock", "39000", "--json")
    with shell.begin("demo", *big) as process:
        wait_for_words(process, "selling")
        _wait_for_sales(folder)
        (pid, *_) = _pids(victim, folder, process.pid)
        os.kill(pid, signal.SIGKILL)
        done = finish(process)
    _assert_exact(done, folder)


def test_ctrl_c_in_a_demo_flushes_and_reports(shell: Shell, folder: Folder) -> None:
    with shell.begin("demo", "--buyers", "200000", "--stock", "150000", "--json") as process:
        wait_for_words(process, "selling")
        _wait_for_sales(folder)
        process.send_signal(signal.SIGINT)
        done = finish(process)
    assert done.status == 130, done
    assert "Traceback" not in done.err
    answer = done.json
    assert (answer["interrupted"], answer["audit_ok"], answer["ledger_lag"]) == (True, True, 0)
    assert answer["ledger_agrees"] is True
    assert answer["ledger_sold"] == _counted(folder, answer["sku"])[0]


def test_ctrl_c_ends_a_worker() -> None:
    with embedded_folder(".hotsku") as own:
        shell = Shell(own.path.parent)
        with own.kept(), shell.begin("worker") as process:
            wait_for_words(process, "working as")
            process.send_signal(signal.SIGINT)
            done = finish(process)
        assert shell.run("item", "list").status == 0  # whoever comes next ends the server that was left for its user
    assert (done.status, "Traceback" in done.err) == (130, False), done


def test_ctrl_c_ends_watching(shell: Shell) -> None:
    screen, terminal = pty.openpty()
    try:
        with shell.begin("watch", stdout=terminal) as process:
            while b"sku" not in os.read(screen, 65536):
                pass
            process.send_signal(signal.SIGINT)
            done = finish(process)
    finally:
        os.close(screen)
        os.close(terminal)
    assert (done.status, "Traceback" in done.err) == (130, False), done


def test_a_replay_answers_every_line(shell: Shell) -> None:
    (shell.path / "log.csv").write_text(_LOG, "utf-8")
    (shell.path / "stock.csv").write_text("sku,stock\nplenty,10\nshort,3\n", "utf-8")
    first = shell.run("replay", "log.csv", "--stock", "stock.csv", "--json")
    counts = {name: first.json[name] for name in ("lines", "answered", "accepted", "rejected", "replayed", "invalid")}
    assert (first.status, counts) == (
        0,
        {"lines": 7, "answered": 7, "accepted": 3, "rejected": 3, "replayed": 1, "invalid": 1},
    )
    assert first.json["rejected_by"] == {"invalid": 1, "sold_out": 1, "conflict": 1}
    assert first.json["invalid_lines"] == [[6, "quantity must be an integer from 1 to 1000000000, not 'zero'"]]
    items = first.json["items"]
    assert isinstance(items, dict)
    assert {sku: (item["stock"], item["sold"]) for sku, item in items.items()} == {"plenty": (10, 2), "short": (3, 3)}
    again = shell.run("replay", "log.csv", "--stock", "stock.csv")
    assert again.status == 0
    assert "3 orders accepted" in again.out
    assert "all 2" in again.out


def test_a_replay_of_json_lines(shell: Shell) -> None:
    lines = [{"at": 1795809600 + n, "sku": f"j-{n % 5}", "quantity": 1, "order_id": f"o-{n}"} for n in range(500)]
    (shell.path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    stock = [argument for n in range(5) for argument in ("--stock", f"j-{n}={60 + 20 * n}")]
    done = shell.run("replay", "log.jsonl", *stock, "--json")
    items = done.json["items"]
    assert isinstance(items, dict)
    assert {sku: item["sold"] for sku, item in items.items()} == {
        "j-0": 60, "j-1": 80, "j-2": 100, "j-3": 100, "j-4": 100
    }  # fmt: skip
    assert (done.status, done.json["audit_ok"]) == (0, True)


def test_a_replay_of_an_item_without_stock_sells_nothing(shell: Shell, folder: Folder) -> None:
    (shell.path / "more.csv").write_text(_LOG.replace("plenty", "known").replace("short", "unheard-of"), "utf-8")
    done = shell.run("replay", "more.csv", "--stock", "known=5")
    assert (done.status, done.out) == (2, "")
    assert "'unheard-of'" in done.error
    assert _counted(folder, "known") == (0, 0)


def test_ctrl_c_in_a_replay_flushes_and_reports(shell: Shell) -> None:
    slow = _LOG.replace("plenty", "slow").replace("short", "slow").replace("27T20:00:06Z", "28T20:00:00Z")
    (shell.path / "slow.csv").write_text(slow, "utf-8")
    with shell.begin("replay", "slow.csv", "--stock", "slow=50", "--speed", "100", "--json") as process:
        wait_for_words(process, "replaying")
        process.send_signal(signal.SIGINT)
        done = finish(process)
    assert (done.status, done.json["interrupted"], done.json["audit_ok"]) == (130, True, True)
    assert done.json["answered"] in range(7)


def _pids(victim: str, folder: Folder, demo: int) -> list[int]:
    """The processes that play this part, those of other folders left out."""
    match victim:
        case "server":
            return processes("valkey-server", str(folder.path))
        case "worker":
            return processes("hotsku.embedded_worker", str(folder.path))
        case _:
            return processes("hotsku.cli.demo.client", parent=demo)


def _wait_for_sales(folder: Folder) -> None:
    """Wait until the newest item's first details are in the ledger: then most of its sale is still to come."""

    def selling() -> bool:
        with closing(sqlite3.connect(folder.path / "ledger.db")) as ledger:
            query = "SELECT EXISTS (SELECT 1 FROM deductions WHERE item_id = (SELECT max(id) FROM items))"
            return bool(ledger.execute(query).fetchone()[0])

    eventually(selling, "sales in the ledger")

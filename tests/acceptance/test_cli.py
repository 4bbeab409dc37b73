"""The command line, as processes on an embedded folder."""

from collections.abc import Iterator

import pytest
from tests.support.commands import Shell
from tests.support.folder_processes import embedded_folder, eventually

import hotsku


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """One folder for the tests of this module; at its end the server and the worker must be gone.

    It is kept: on a slow machine every command would start them anew, and find the item's memory not proven yet."""
    with embedded_folder(".hotsku") as folder, folder.kept():
        shell = Shell(folder.path.parent)
        assert shell.run("item", "create", "sneaker", "--total", "10", "--partitions", "2").status == 0
        assert shell.run("item", "create", "limited", "--total", "10", "--limit-per-buyer", "1").status == 0
        yield shell


def test_an_orders_life_in_json(shell: Shell) -> None:
    sold = shell.run("deduct", "sneaker", "--order", "o-1", "--buyer", "u-1", "--quantity", "3", "--json")
    assert (sold.status, sold.json["outcome"], sold.json["replayed"]) == (0, "accepted", False)
    assert "embedded" in sold.err
    again = shell.run("deduct", "sneaker", "--order", "o-1", "--buyer", "u-1", "--quantity", "3", "--json")
    assert (again.status, again.json["outcome"], again.json["replayed"]) == (0, "accepted", True)
    shown = shell.run("order", "show", "sneaker", "o-1", "--buyer", "u-1", "--json")
    assert (shown.status, shown.json["quantity"]) == (0, 3)
    refused = shell.run("deduct", "sneaker", "--quantity", "8", "--json")
    assert (refused.status, refused.json["outcome"], refused.json["available"]) == (1, "insufficient", 7)


def test_an_order_is_shown_with_its_history(shell: Shell) -> None:
    assert shell.run("item", "create", "told", "--total", "10", "--partitions", "1").status == 0
    assert shell.run("deduct", "told", "--order", "o-1", "--quantity", "2").status == 0
    eventually(lambda: shell.run("order", "show", "told", "o-1", "--json").json["history"], "the ledger has it")
    shown = shell.run("order", "show", "told", "o-1", "--json")
    history = shown.json["history"]
    assert isinstance(history, list)
    assert [(event["kind"], event["quantity"], event["seq"]) for event in history] == [("deducted", 2, 1)]
    assert (shown.status, shown.json["state"], shown.json["seq"]) == (0, "confirmed", 1)
    for words in ("accepted: 2 of told to order o-1, confirmed", "deducted", "1-1"):
        assert words in shell.run("order", "show", "told", "o-1").out
    unknown = shell.run("order", "show", "told", "o-2", "--json")
    assert (unknown.status, unknown.json["outcome"], unknown.json["history"]) == (1, "not_found", [])


def test_an_item_is_changed(shell: Shell) -> None:
    assert shell.run("item", "create", "changing", "--total", "10", "--partitions", "2").status == 0
    paused = shell.run("item", "pause", "changing", "--json")
    assert (paused.status, paused.json) == (
        0,
        {"sku": "changing", "state": "paused", "unreachable": [], "outstanding": 0},
    )
    assert shell.run("deduct", "changing", "--json").json["outcome"] == "paused"
    assert "changing is on sale" in shell.run("item", "resume", "changing").out
    for units, total in (("5", 15), ("5", 15), ("-8", 7)):
        done = shell.run("item", "restock", "changing", "--quantity", units, "--adjustment", f"a{units}", "--json")
        assert (done.status, done.json["total"]) == (0, total), done
        assert f"restock a{units}" in done.err
    refused = shell.run("item", "restock", "changing", "--quantity", "-8")
    assert (refused.status, refused.error) == (2, "quantity must be at most 7 fewer; all others are sold or held")
    closed = shell.run("item", "close", "changing")
    assert (closed.status, closed.out) == (0, "changing is closed\n"), closed
    shown = shell.run("item", "show", "changing", "--json").json
    assert (shown["state"], shown["pool"], shown["preallocated"]) == ("closed", 7, 0)
    assert shell.run("deduct", "changing", "--json").json["outcome"] == "closed"
    again = shell.run("item", "resume", "changing")
    assert (again.status, again.error) == (2, "sku must be that of an item that is not closed; 'changing' is")
    assert shell.run("item", "pause", "nothing").status == 1


def test_looking_in_json(shell: Shell) -> None:
    assert shell.run("item", "show", "limited", "--json").json["limit_per_buyer"] == 1
    items = shell.run("item", "list", "--json").json["items"]
    assert isinstance(items, list)
    assert [item["sku"] for item in items] == ["changing", "limited", "sneaker", "told"]
    registry = shell.run("partitions", "sneaker", "--json").json["partitions"]
    assert isinstance(registry, list)
    assert len(registry) == 2
    watched = shell.run("watch", "sneaker", "--json")
    assert (watched.status, set(watched.json)) == (0, {"items", "partitions"})
    audit = shell.run("audit", "--json")
    assert (audit.status, audit.json["problems"]) == (0, []), audit
    assert shell.run("version", "--json").json["version"] == hotsku.__version__
    migrated = shell.run("migrate", "--json")
    assert (migrated.status, bool(migrated.json["ledger_id"])) == (0, True)


def test_looking_as_a_person(shell: Shell) -> None:
    assert "available" in shell.run("item", "list").out
    assert "bucket A" in shell.run("partitions", "sneaker").out
    assert "audit: ok" in shell.run("audit", "limited").out
    assert "not found: limited has no order nope" in shell.run("order", "show", "limited", "nope").out


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["deduct", "sneaker", "--quantity", "0"], 2, "quantity must be an integer from 1 to 1000000000, not 0"),
        (["deduct", "sneaker", "--quantity", "-1"], 2, "quantity must be"),
        (["deduct", "sneaker", "--quantity", "1.5"], 2, "'--quantity'"),
        (["deduct", "sneaker", "--quantity", "1000000000000"], 2, "quantity must be"),
        (["deduct", "sneaker", "--order", ""], 2, "order_id must be"),
        (["deduct", "sneaker", "--order", "o\n{1} \N{SHOPPING BAGS}"], 2, "order_id must be"),
        (["deduct", "sneaker", "--buyer", "u" * 65], 2, "buyer_id must be"),
        (["deduct", "limited"], 2, "buyer_id must be given"),
        (["deduct", "nothing"], 1, "no item has the sku 'nothing'"),
        (["item", "create", "sneaker", "--total", "11", "--partitions", "2"], 1, "total is 10, not 11"),
        (["item", "create", "late", "--total", "5", "--opens-at", "2026-01-01T00:00:00"], 2, "opens_at must be"),
        (["order", "show", "sneaker"], 2, "order"),
        (["worker", "--roles", "relay,cook"], 2, "'cook'"),
        (["demo", "--buyers", "0"], 2, "--buyers"),
        (["replay", "nowhere.csv"], 2, "nowhere.csv"),
        (["item", "list", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["sell"], 2, "'sell'"),
        ([], 2, "command"),
    ],
)
def test_bad_input_is_one_line(shell: Shell, arguments: list[str], status: int, says: str) -> None:
    done = shell.run(*arguments)
    assert (done.status, done.out) == (status, "")
    assert says.lower() in done.error.lower()


def test_bad_settings_and_absent_back_ends_are_one_line(shell: Shell) -> None:
    bad = shell.run("item", "list", environment={"HOTSKU_RELAY_INTERVAL_MS": "soon"})
    assert (bad.status, bad.out) == (2, "")
    assert "HOTSKU_RELAY_INTERVAL_MS" in bad.error
    away = shell.run("item", "list", environment={"HOTSKU_SHARD_URL": "unix:///nowhere/valkey.sock"})
    assert (away.status, away.out) == (3, "")
    assert "shard" in away.error


def test_bad_input_lost_nothing(shell: Shell) -> None:
    audit = shell.run("audit", "--json")
    assert (audit.status, audit.json["problems"]) == (0, []), audit

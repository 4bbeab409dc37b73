"""The command line, as processes on an embedded folder."""

from collections.abc import Iterator

import pytest
from tests.support.commands import Shell
from tests.support.folder_processes import embedded_folder

import hotsku


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """One folder for the tests of this module; at its end the server and the worker must be gone."""
    with embedded_folder(".hotsku") as folder:
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


def test_looking_in_json(shell: Shell) -> None:
    assert shell.run("item", "show", "limited", "--json").json["limit_per_buyer"] == 1
    items = shell.run("item", "list", "--json").json["items"]
    assert isinstance(items, list)
    assert [item["sku"] for item in items] == ["limited", "sneaker"]
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

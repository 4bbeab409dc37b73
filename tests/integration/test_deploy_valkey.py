"""The Valkey files of `deploy`: a cluster that its scripts start and form, and a sale as the users of `users.acl`."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError

import hotsku
from hotsku.app import migrate
from hotsku.errors import HotSKUError
from hotsku.settings import Settings
from hotsku.shard.cluster_node import HOST
from hotsku.shard.cluster_spec import free_range
from hotsku.shard.cluster_view import call
from hotsku.shard.launcher import find_binary

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]

_FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "valkey"
_PASSWORDS = {name: f"the-{name}-pass" for name in ("data", "admin", "operator", "replica")}
_WORD = re.compile(r"""["']([A-Z]{2,})["']""")
_ENVIRONMENT = {f"{name.upper()}_PASSWORD": password for name, password in _PASSWORDS.items()}


class DeployedCluster:
    """Three masters with a replica each, as `deploy/compose.yaml` has them, but on loopback."""

    def __init__(self, home: Path) -> None:
        first = free_range(6)
        self.ports = range(first, first + 6)
        self._processes = [self._start(home / str(port), port) for port in self.ports]

    def form(self) -> str:
        """What the service `valkey-form` does; says what it said."""
        addresses = [f"{HOST}:{port}" for port in self.ports]
        formed = subprocess.run(
            ["sh", str(_FOLDER / "form.sh"), *addresses],
            env={**os.environ, **_ENVIRONMENT, "VALKEY_CLI": "redis-cli"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert formed.returncode == 0, formed.stdout + formed.stderr
        return formed.stdout

    def url(self, user: str) -> str:
        """The `shard_url` of a user."""
        return f"redis+cluster://{user}:{_PASSWORDS[user]}@" + ",".join(f"{HOST}:{port}" for port in self.ports[:3])

    @asynccontextmanager
    async def clients(self, user: str | None) -> AsyncIterator[list["Redis"]]:
        """A client of each node; None: somebody who does not log in."""
        clients = [client(port, user, _PASSWORDS[user] if user else None) for port in self.ports]
        try:
            yield clients
        finally:
            for each in clients:
                await each.aclose()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, home: Path, port: int) -> "subprocess.Popen[bytes]":
        home.mkdir()
        with (home / "log").open("wb") as log:
            return subprocess.Popen(
                ["sh", str(_FOLDER / "start.sh"), "--port", str(port), "--bind", HOST],
                env={**os.environ, **_ENVIRONMENT, "VALKEY_SERVER": str(find_binary())},
                cwd=home,
                stdout=log,
                stderr=log,
            )


def client(port: int, user: str | None, password: str | None) -> "Redis":
    """A client that does not try again."""
    once = Retry(NoBackoff(), 0)
    return Redis(
        host=HOST, port=port, username=user, password=password, decode_responses=True, retry=once, socket_timeout=60
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[DeployedCluster]:
    if shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli on PATH")
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    made = DeployedCluster(home)
    try:
        assert "All 16384 slots covered" in made.form()
        yield made
    finally:
        made.close()
        shutil.rmtree(home, ignore_errors=True)


async def denied(cluster: DeployedCluster) -> list[object]:
    """What the nodes have refused since they were asked last."""
    entries: list[object] = []
    async with cluster.clients("operator") as clients:
        for node in clients:
            entries += [(entry["username"], entry["reason"], entry["object"]) for entry in await node.acl_log()]
            await node.acl_log_reset()
    return entries


async def refuses(client: "Redis", *words: str) -> bool:
    try:
        await call(client, *words)
    except NoPermissionError:
        return True
    return False


def test_forming_again_changes_nothing(cluster: DeployedCluster) -> None:
    assert cluster.form() == "the cluster is well\n"


async def test_a_sale_needs_what_the_data_user_may_and_no_more(cluster: DeployedCluster, tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path}/ledger.db"
    await denied(cluster)
    with pytest.raises((HotSKUError, NoPermissionError)):
        await migrate(Settings(shard_url=cluster.url("data"), ledger_url=ledger_url))
    assert ("data", "command", "function|load") in await denied(cluster)
    await migrate(Settings(shard_url=cluster.url("admin"), ledger_url=ledger_url))
    assert await denied(cluster) == []
    settings = Settings(shard_url=cluster.url("data"), ledger_url=ledger_url)
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("sneaker", total=60, partitions=6, limit_per_buyer=2)
        orders = [{"order_id": f"o-{number}", "buyer_id": f"b-{number}"} for number in range(70)]
        answers = [await stock.deduct("sneaker", 1, **order) for order in orders]
        assert [answer.outcome for answer in answers].count(hotsku.Outcome.ACCEPTED) == 60
        again = await stock.deduct("sneaker", 1, **orders[1])
        assert again.replayed
        assert (await stock.audit()).ok
    assert await denied(cluster) == []


# Words of the code that are names of commands as well, and what only the server of an embedded folder is sent.
_NOT_SENT = {"readonly", "shutdown"}


async def test_the_data_user_may_send_every_command_that_the_code_has(cluster: DeployedCluster) -> None:
    """Also those that no sale of a second sends: after a failover, or when a partition begins anew."""
    line = next(line for line in (_FOLDER / "users.acl").read_text().splitlines() if line.startswith("user data "))
    granted = {word[1:].partition("|")[0] for word in line.split() if word.startswith("+")}
    async with cluster.clients("operator") as (node, *_):
        commands = {str(name) for name in await node.command_list()}
    files = {file.name: file.read_text("utf-8") for file in _code()}
    named = {word.lower(): name for name, text in files.items() for word in _WORD.findall(text)}
    assert {"hset", "fcall", "wait", "xreadgroup"} <= set(named)
    missing = {word: named[word] for word in commands & set(named) - granted if word not in _NOT_SENT}
    assert missing == {}


def _code() -> Iterator[Path]:
    package = _FOLDER.parents[1] / "src" / "hotsku"
    for folder in ("shard", "shard/functions", "broker"):
        yield from (file for file in sorted((package / folder).glob("*.*")) if file.suffix in (".py", ".lua"))


_NOT_FOR_DATA: Sequence[tuple[str, ...]] = (
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("CONFIG SET", "appendfsync", "no"),
    ("FUNCTION DELETE", "hotsku"),
    ("FUNCTION FLUSH",),
    ("EVAL", "return 1", "0"),
    ("SHUTDOWN",),
    ("ACL LIST",),
    ("CLUSTER RESET",),
    ("SET", "other:key", "1"),
    ("PUBLISH", "other", "1"),
)


async def test_users_may_not_do_what_is_not_theirs(cluster: DeployedCluster) -> None:
    async with cluster.clients("data") as (node, *_):
        assert [words for words in _NOT_FOR_DATA if not await refuses(node, *words)] == []
    async with cluster.clients("replica") as (node, *_):
        assert await refuses(node, "GET", "hs:ledger")
        assert await refuses(node, "CONFIG GET", "maxmemory")
    async with cluster.clients(None) as (node, *_):
        assert await node.ping()
        assert await refuses(node, "GET", "hs:ledger")
    async with cluster.clients("admin") as (node, *_):
        assert await refuses(node, "FLUSHALL")
        assert await refuses(node, "CONFIG SET", "appendfsync", "no")
    stranger = client(cluster.ports[0], "data", "wrong")
    with pytest.raises(AuthenticationError):
        await stranger.ping()
    await stranger.aclose()

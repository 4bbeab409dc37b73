"""What an acknowledgement on several servers waits for, what is refused, and who feels that a server is away."""

import asyncio
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import REDIS_7
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.sentinel import LocalSentinel
from tests.support.servers import redis_binary
from tests.support.shop import ITEM_ID, TOTAL, open_shop
from tests.support.tls import make_tls_files
from tests.support.workers import until

import hotsku
from hotsku import BackendUnavailable, HotSKUError, InvalidSettings, Outcome, OutcomeUnknown
from hotsku.app import connect_to
from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import point_of, slot_of_point
from hotsku.domain.routing import home
from hotsku.settings import Settings
from hotsku.shard.cluster_spec import ClusterSpec
from hotsku.shard.cluster_view import call

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


_namespaces = itertools.count(1)


@pytest.fixture(scope="module")
def without_replicas() -> Iterator[LocalCluster]:
    with running_cluster(ClusterSpec(replicas=0)) as cluster:
        yield cluster


def _settings(shard_url: str, folder: Path, **more: object) -> Settings:
    chosen = {"shard_url": shard_url, "ledger_url": f"sqlite:///{folder}/ledger.db"}
    return Settings(**{**chosen, "namespace": f"s{next(_namespaces)}", **more})  # type: ignore[arg-type]


async def test_a_server_that_keeps_less_than_the_mode_promises_is_refused_by_name(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    replica = (await cluster.replicas())[0]
    async with replica.client() as client:
        await client.config_set("appendfsync", "everysec")
        try:
            with pytest.raises(InvalidSettings) as refused:
                async with hotsku.connect(_settings(cluster.url, tmp_path)):
                    pass
        finally:
            await client.config_set("appendfsync", "always")
    wanted = f"durability: durable needs appendfsync always on {replica.address}, which has everysec"
    assert str(refused.value) == wanted


async def test_nothing_is_acknowledged_that_a_copy_lacks(module_sentinel: LocalSentinel, tmp_path: Path) -> None:
    """The replica hangs, and sentinels never forget one: the outcome is not known before it is back."""
    async with hotsku.connect(_settings(module_sentinel.url, tmp_path), workers=True) as stock:
        await stock.create_item("sku", 100, partitions=1)
        replica = await module_sentinel.replica()
        replica.pause()
        try:
            with pytest.raises(OutcomeUnknown):
                await stock.deduct("sku", order_id="o")
        finally:
            replica.resume()
        answer = await _until_known(stock, "o")
        assert answer.outcome is Outcome.ACCEPTED
        assert (await stock.partitions("sku"))[0].taken == 1


async def test_a_replay_waits_for_the_copies_of_its_sale(module_sentinel: LocalSentinel, tmp_path: Path) -> None:
    async with hotsku.connect(_settings(module_sentinel.url, tmp_path), workers=True) as stock:
        await stock.create_item("sku", 100, partitions=1)
        await stock.deduct("sku", order_id="o")
        replica = await module_sentinel.replica()
        replica.pause()
        try:
            with pytest.raises(OutcomeUnknown):
                await stock.deduct("sku", order_id="o")
        finally:
            replica.resume()
        assert (await _until_known(stock, "o")).replayed


async def test_without_waiting_for_copies_a_promotion_proves_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    settings = _settings(cluster.url, tmp_path, replica_acks=0)
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("sku", 900, partitions=3)
        assert _durabilities(tmp_path) == {"fast"}
        await cluster.failover((await cluster.masters())[0])

        async def given_up() -> bool:
            return (await stock.item("sku")).quarantined > 0

        await until(given_up, 60)
        assert (await stock.item("sku")).available < 900
        assert [view.incarnation for view in await stock.partitions("sku")].count(2) == 1


async def test_a_dead_server_is_felt_by_its_partitions_alone(without_replicas: LocalCluster, tmp_path: Path) -> None:
    settings = _settings(without_replicas.url, tmp_path, relay_interval_ms=50)
    async with hotsku.connect(settings, workers=True) as stock:
        await stock.create_item("sku", 900, partitions=3)
        views = await stock.partitions("sku")
        dead = next(node for node in without_replicas.nodes if node.address == views[0].shard)
        lost, *kept = ([f"o-{n}" for n in range(400) if home(f"o-{n}", "", 3) == part][:50] for part in range(3))
        without_replicas.kill(dead)
        answers = await asyncio.gather(*(stock.deduct("sku", order_id=order) for orders in kept for order in orders))
        assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}
        states = {view.partition: view.state for view in await stock.partitions("sku")}
        assert states == {0: "unreachable", 1: "selling", 2: "selling"}
        with pytest.raises((BackendUnavailable, OutcomeUnknown)):
            await stock.deduct("sku", order_id=lost[0])
        assert (await stock.item("sku")).sold <= 100

        async def booked() -> bool:
            return (await stock.item("sku")).sold == 100

        await until(booked)  # what the others sold, while it is away
        await without_replicas.restart(dead)
        for order in lost:
            assert (await _until_known(stock, order)).outcome is Outcome.ACCEPTED


async def test_tls_and_a_login(tmp_path: Path) -> None:
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH; the bundled server has no TLS")
    files = make_tls_files(tmp_path)
    spec = ClusterSpec(
        binary=binary,
        tls=True,
        login=("default", "secret"),
        extra=(*files.server_options, "--requirepass", "secret", "--masterauth", "secret", *REDIS_7),
    )
    with running_cluster(spec, query=files.query) as cluster:
        url = cluster.url.replace("://", "://:secret@")
        assert url.startswith("rediss+cluster://:secret@")
        async with open_shop(url, tmp_path) as shop:
            await shop.engines[0].create_item("sku", TOTAL, partitions=3)
            await shop.sell_while(lambda: asyncio.sleep(0))
        with pytest.raises(BackendUnavailable):
            async with hotsku.connect(_settings(cluster.url, tmp_path)):
                pass


async def _until_known(stock: hotsku.Inventory, order_id: str) -> hotsku.Deduction:
    while True:
        try:
            return await stock.deduct("sku", order_id=order_id)
        except HotSKUError:
            await asyncio.sleep(0.05)


def _durabilities(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
        return {durability for (durability,) in ledger.execute("SELECT durability FROM partitions")}


async def test_what_was_acknowledged_without_a_copy_is_not_proven_by_its_promotion(tmp_path: Path) -> None:
    """A replica dies, its master sells alone and dies too, and the replica is made to take over with what it had."""
    with running_cluster() as cluster:
        settings = _settings(cluster.url, tmp_path, relay_interval_ms=60_000, relay_max_events=5_000)
        async with connect_to(settings, workers=True) as shop:
            stock = shop.inventory
            await stock.create_item("sku", 900, partitions=3)
            slot = slot_of_point(point_of(PartitionRef(ITEM_ID, 0)))
            master = await cluster.owner(slot)
            (replica,) = await cluster.replicas(master)
            cluster.kill(replica)
            known = shop.stack.shards.topology
            await until(lambda: (owner := known.owner(slot)) is not None and not known.replicas(owner))
            orders = [f"o-{n}" for n in range(400) if home(f"o-{n}", "", 3) == 0][:50]
            for order in orders:
                assert (await _until_known(stock, order)).outcome is Outcome.ACCEPTED
            cluster.kill(master)
            await replica.start()
            async with replica.client() as client:
                await call(client, "CLUSTER FAILOVER TAKEOVER")

            async def over() -> bool:
                return (await stock.partitions("sku"))[0].incarnation == 2

            await until(over, 60)
            item = await stock.item("sku")
            assert item.sold == 0, "nobody has what was acknowledged any more"
            assert item.quarantined >= len(orders)

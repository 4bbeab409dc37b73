"""The local cluster: it forms, keeps what it has, and each thing that a test may do to it does what it says."""

import asyncio
import itertools
import socket
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError
from tests.support.cluster import LocalCluster, running_cluster
from tests.support.servers import redis_binary
from tests.support.tls import make_tls_files

from hotsku.domain.placement import SLOTS
from hotsku.errors import InvalidSettings
from hotsku.shard.cluster_launcher import ClusterFolder
from hotsku.shard.cluster_node import HOST
from hotsku.shard.cluster_spec import BUS_OFFSET, ClusterSpec, Layout, free_range, write_layout

pytestmark = pytest.mark.anyio

LIBRARY = "#!lua name=t\nserver.register_function('f', function() return 1 end)"


def client_of(cluster: LocalCluster) -> "RedisCluster":
    return RedisCluster(
        startup_nodes=[ClusterNode(HOST, node.port) for node in cluster.nodes], decode_responses=True, socket_timeout=60
    )


async def filled(cluster: LocalCluster, prefix: str, slot: int, keys: int = 300) -> list[str]:
    """Write that many keys of one slot; their names."""
    tag = next(tag for number in itertools.count() if key_slot((tag := f"{prefix}{number}").encode()) == slot)
    names = [f"{{{tag}}}{number}" for number in range(keys)]
    async with client_of(cluster) as client:
        for name in names:
            await client.set(name, name)
    return names


async def values(cluster: LocalCluster, names: list[str]) -> list[object]:
    async with client_of(cluster) as client:
        return [await client.get(name) for name in names]


async def test_it_forms_evenly_durable_and_with_replicas(cluster: LocalCluster) -> None:
    health = await cluster.folder.health()
    masters, replicas = await cluster.masters(), await cluster.replicas()
    assert (len(masters), len(replicas)) == (3, 3)
    assert [len(await cluster.replicas(master)) for master in masters] == [1, 1, 1]
    view = next(iter(health.values())).seen
    ranges = sorted(slots for node in view for slots in node.slots)
    assert [low for low, _ in ranges] == [0, *(high + 1 for _, high in ranges[:-1])]
    assert {high - low + 1 for low, high in ranges} == {SLOTS // 3, SLOTS // 3 + 1}
    wanted = {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction",
        "cluster-require-full-coverage": "no",
        "cluster-allow-replica-migration": "no",
        "cluster-node-timeout": "2000",
        "min-replicas-to-write": "0",
        "bind": HOST,
    }
    for node in cluster.nodes:
        async with node.client() as client:
            assert await client.config_get(*wanted) == wanted
    assert cluster.url == "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes[:3])


async def test_it_has_its_data_and_its_roles_when_it_starts_again(tmp_path: Path) -> None:
    async with ClusterFolder(tmp_path / "c", ClusterSpec(min_replicas_to_write=1)) as folder:
        cluster = LocalCluster(folder)
        promoted = await cluster.failover((await cluster.masters())[0])
        names = [name for slot in (1, 8000, 16000) for name in await filled(cluster, "kept", slot, 5)]
        pids = [node.pid for node in folder.nodes]
        url, ids = cluster.url, [own.id for own in (await folder.health()).values()]
    assert not any(_runs(pid) for pid in pids)
    async with ClusterFolder(tmp_path / "c", ClusterSpec(min_replicas_to_write=1)) as folder:
        cluster = LocalCluster(folder)
        assert (cluster.url, [own.id for own in (await folder.health()).values()]) == (url, ids)
        assert await values(cluster, names) == names
        assert (await cluster.masters())[0].port == promoted.port


async def test_an_asked_failover_makes_the_master_its_replicas_replica(cluster: LocalCluster) -> None:
    old = (await cluster.masters())[1]
    new = await cluster.failover(old)
    assert (await cluster.masters())[1] is new
    assert await cluster.replicas(new) == [old]


async def test_a_killed_masters_slots_go_to_its_replica(cluster: LocalCluster) -> None:
    names = await filled(cluster, "crash", 0)
    old = await cluster.owner(0)
    async with old.client() as client:
        assert await client.wait(1, 5000) == 1
    new = await cluster.crash_failover(old)
    assert old.dead()
    assert old.pid is None
    assert await values(cluster, names) == names
    await cluster.restart(old)
    assert await cluster.owner(0) is new
    assert await cluster.replicas(new) == [old]


async def test_a_paused_masters_slots_go_to_its_replica_until_it_wakes_as_one(cluster: LocalCluster) -> None:
    old = await cluster.owner(16_000)
    new = await cluster.pause_failover(old)
    assert not old.dead()
    cluster.resume(old)
    assert await cluster.owner(16_000) is new
    assert await cluster.replicas(new) == [old]


async def test_a_killed_node_that_starts_soon_enough_is_what_it_was(cluster: LocalCluster) -> None:
    node = (await cluster.masters())[2]
    pid = node.pid
    await cluster.restart(node)
    assert node.pid != pid
    assert (await cluster.masters())[2] is node


async def test_slots_move_key_by_key(cluster: LocalCluster) -> None:
    names = await filled(cluster, "classic", 103)
    source, target = (await cluster.masters())[:2]
    await cluster.reshard_classic(100, 110, source, target)
    assert await cluster.owner(105) is target
    async with source.client() as old, target.client() as new:
        assert await old.cluster("COUNTKEYSINSLOT", 103) == 0
        assert await new.cluster("COUNTKEYSINSLOT", 103) == len(names)
    assert await values(cluster, names) == names
    await cluster.reshard_classic(100, 110, target, source)
    assert await cluster.owner(103) is source


async def test_slots_move_all_at_once(cluster: LocalCluster) -> None:
    names = await filled(cluster, "atomic", 203)
    source, target = (await cluster.masters())[:2]
    await cluster.reshard_atomic(200, 210, source, target)
    assert await cluster.owner(203) is target
    async with target.client() as new:
        assert await new.cluster("COUNTKEYSINSLOT", 203) == len(names)
    assert await values(cluster, names) == names
    await cluster.reshard_atomic(200, 210, target, source)
    assert await cluster.owner(203) is source


async def test_an_empty_master_joins_without_functions() -> None:
    with running_cluster(ClusterSpec(masters=1, replicas=0)) as cluster:
        (first,) = await cluster.masters()
        async with first.client() as client:
            await client.function_load(LIBRARY)
        joined = await cluster.add_master()
        assert await cluster.masters() == [first]
        async with joined.client() as client:
            assert await client.function_list() == []
        await cluster.reshard_classic(16_380, 16_383, first, joined)
        assert await cluster.masters() == [first, joined]


async def test_redis_7_with_tls_and_a_password_forms_fails_over_and_reshards(tmp_path: Path) -> None:
    files = make_tls_files(tmp_path)
    spec = ClusterSpec(
        binary=_redis(),
        tls=True,
        login=("default", "secret"),
        extra=(*files.server_options, "--requirepass", "secret", "--masterauth", "secret"),
    )
    with running_cluster(spec, query=files.query) as cluster:
        assert cluster.url == f"rediss+cluster://{cluster.folder.seeds}?ssl_ca_certs={files.ca}"
        port, ca = cluster.nodes[0].port, str(files.ca)
        async with cluster.nodes[0].client() as client:
            assert (await client.info("server"))["redis_version"].startswith("7.")
        async with RedisCluster(
            host=HOST, port=port, password="secret", ssl=True, ssl_ca_certs=ca, socket_timeout=60
        ) as client:
            await client.set("a", "1")
            source, target, *_ = await cluster.masters()
            await cluster.reshard_classic(5, 9, source, target)
            new = await cluster.failover(target)
            assert await cluster.owner(7) is new
            assert await client.get("a") == b"1"
        once = Retry(NoBackoff(), 0)
        async with Redis(host=HOST, port=port, ssl=True, ssl_ca_certs=ca, retry=once, socket_timeout=60) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        async with Redis(host=HOST, port=port, password="secret", retry=once, socket_timeout=60) as plain:
            with pytest.raises((RedisError, OSError)):
                await plain.ping()


async def test_nodes_that_die_start_again(tmp_path: Path) -> None:
    said, twice = list[str](), asyncio.Event()

    def hear(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            twice.set()

    async with ClusterFolder(tmp_path, ClusterSpec(masters=1, node_timeout_ms=200)) as folder:
        keeping = asyncio.create_task(folder.keep_alive(hear))
        replica = folder.nodes[1]
        replica.kill()
        await twice.wait()
        await folder.health()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert said == [f"{replica.address} has ended; it starts again in 0.5 s", f"{replica.address} runs again"]


async def test_a_cluster_that_was_never_formed_is_made_anew_and_has_one_owner(tmp_path: Path) -> None:
    ports = tuple(range(start := free_range(2), start + 2))
    write_layout(tmp_path, Layout(masters=2, replicas=0, ports=ports))
    half = tmp_path / "node-1" / "valkey" / "nodes.conf"
    half.parent.mkdir(parents=True)
    half.write_text("half a fi")
    async with ClusterFolder(tmp_path, ClusterSpec(masters=1, replicas=0)) as folder:
        assert len(await LocalCluster(folder).masters()) == 1
        with pytest.raises(InvalidSettings, match=r"another process runs the servers of"):
            await ClusterFolder(tmp_path).start()


async def test_wrong_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"masters must be an integer from 1 to 16, not 0"):
        ClusterSpec(masters=0)
    with pytest.raises(InvalidSettings, match=r"base-port must be an integer from 1024 to"):
        ClusterSpec(base_port=60_000)
    ports = tuple(range(start := free_range(3), start + 3))
    write_layout(tmp_path, Layout(masters=3, replicas=0, ports=ports, formed=True))
    for name, other in (("masters", 2), ("replicas", 1), ("base_port", ports[0] + 1)):
        with pytest.raises(InvalidSettings, match=rf"{name.replace('_', '-')} must be \d+, as .* has it, not {other}"):
            await ClusterFolder(tmp_path, msgspec.convert({name: other}, ClusterSpec)).start()
    taken = ports[2] + BUS_OFFSET
    with (
        socket.create_server((HOST, taken)),
        pytest.raises(InvalidSettings, match=f"another program uses port {taken}"),
    ):
        await ClusterFolder(tmp_path).start()
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(InvalidSettings, match=r"cluster.json cannot be read .*; name another folder"):
        await ClusterFolder(tmp_path).start()


async def test_a_start_that_fails_leaves_nobody(tmp_path: Path) -> None:
    folder = ClusterFolder(tmp_path, ClusterSpec(masters=2, replicas=0, extra=("--no-such-option", "1")))
    with pytest.raises(Exception, match=r"ended while starting: .*(?i:bad directive|wrong number)") as caught:
        await folder.start()
    assert "\n" not in str(caught.value)


def _runs(pid: int | None) -> bool:
    """Whether the process exists, and be it as a zombie."""
    return pid is not None and Path(f"/proc/{pid}").exists()


def _redis() -> Path:
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH")
    return binary

"""A real cluster for tests, and what may happen to it: nodes die, stop and take over, slots move, masters join."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hotsku.shard.cluster_launcher import ClusterFolder
from hotsku.shard.cluster_node import HOST, ClusterNode
from hotsku.shard.cluster_spec import ClusterSpec, free_range
from hotsku.shard.cluster_view import Health, Seen, call, clients, look, until, until_agreed
from hotsku.shard.launcher import find_binary
from tests.support import reshard
from tests.support.servers import run_blocking

_PATIENCE_S = 90.0


class LocalCluster:
    """A running cluster. Nothing in it belongs to an event loop, so that tests of a module may share one.

    Args:
        folder: the cluster, started.
        query: what its URL ends with.
    """

    def __init__(self, folder: ClusterFolder, query: str = "") -> None:
        self.folder = folder
        self._query = query
        self._paused: set[ClusterNode] = set()

    @property
    def url(self) -> str:
        """The `shard_url`: stays the same, whatever happens to the nodes."""
        return f"{self.folder.url}{self._query}"

    @property
    def nodes(self) -> Sequence[ClusterNode]:
        """All nodes, also dead ones, in the order of their ports."""
        return self.folder.nodes

    async def masters(self) -> list[ClusterNode]:
        """The masters that have slots, in the order of their first ones. Waits until the cluster is well."""
        seen = await self._seen()
        masters = [node for node in self.nodes if seen[node].slots]
        return sorted(masters, key=lambda node: seen[node].slots[0])

    async def replicas(self, master: ClusterNode | None = None) -> list[ClusterNode]:
        """The replicas of a master, or all. Waits until the cluster is well."""
        seen = await self._seen()
        wanted = {seen[master].id} if master else {each.id for each in seen.values()}
        return [node for node in self.nodes if seen[node].master_id in wanted]

    async def owner(self, slot: int) -> ClusterNode:
        """The master of a slot. Waits until the cluster is well."""
        seen = await self._seen()
        return next(n for n in self.nodes if any(first <= slot <= last for first, last in seen[n].slots))

    def kill(self, node: ClusterNode) -> None:
        """kill -9."""
        node.kill()
        self._paused.discard(node)

    def pause(self, node: ClusterNode) -> None:
        """SIGSTOP: its connections stay open, and it answers nothing. It counts as failed after the node timeout."""
        os.kill(_pid(node), signal.SIGSTOP)
        self._paused.add(node)

    def resume(self, node: ClusterNode) -> None:
        """SIGCONT."""
        os.kill(_pid(node), signal.SIGCONT)
        self._paused.discard(node)

    async def restart(self, node: ClusterNode) -> None:
        """Kill it where it runs, start it on its files, and wait until the cluster is well."""
        self.kill(node)
        await node.start()
        await self.folder.health()

    async def heal(self) -> None:
        """Let every node run again, and wait until the cluster is well."""
        for node in self.nodes:
            if node.dead():
                await node.start()
            else:
                self.resume(node)
        await self.folder.health()

    async def failover(self, master: ClusterNode) -> ClusterNode:
        """CLUSTER FAILOVER of a replica of the master; waits until that one is the master's replica.

        Returns:
            the new master.
        """
        promoted = (await self.replicas(master))[0]
        async with promoted.client() as client:
            await call(client, "CLUSTER FAILOVER")
        ids = {node: seen.id for node, seen in (await self._seen()).items()}

        def not_yet(node: Health) -> str:
            old = next(seen for seen in node.seen if seen.id == ids[master])
            return "" if old.master_id == ids[promoted] else f"sees no new master of {master.address}'s slots"

        await until_agreed(self.nodes, _PATIENCE_S, not_yet)
        return promoted

    async def crash_failover(self, master: ClusterNode) -> ClusterNode:
        """kill -9 of the master; waits until every node that lives knows which replica took over.

        Returns:
            the new master. The old one stays dead until `restart` or `heal`.
        """
        heirs = await self.replicas(master)
        slots = (await self._seen())[master].slots
        self.kill(master)
        return await self._taken_over(slots, heirs)

    async def pause_failover(self, master: ClusterNode) -> ClusterNode:
        """Pause the master; waits until every node that answers knows which replica took over.

        Returns:
            the new master. The old one is paused, and believes to be the master, until `resume`.
        """
        heirs = await self.replicas(master)
        slots = (await self._seen())[master].slots
        self.pause(master)
        return await self._taken_over(slots, heirs)

    async def _taken_over(self, slots: tuple[tuple[int, int], ...], heirs: Sequence[ClusterNode]) -> ClusterNode:
        """Wait until one of `heirs` has the slots, as every node sees it that answers."""
        living = [node for node in self.nodes if not node.dead() and node not in self._paused]
        owners: set[int] = set()

        async def lacking() -> str:
            async with clients(living) as opened:
                views = [await look(client) for client in opened.values()]
            owners.clear()
            owners.update(node.port for view in views for node in view if node.slots == slots and node.well)
            every = all(any(node.slots == slots and node.well for node in view) for view in views)
            return "" if every and owners <= {node.port for node in heirs} else f"slots {slots} have no new master"

        await until(lacking, _PATIENCE_S)
        return next(node for node in heirs if node.port in owners)

    async def reshard_classic(self, first: int, last: int, source: ClusterNode, target: ClusterNode) -> None:
        """Move slots key by key (SETSLOT and MIGRATE), as `redis-cli --cluster reshard` does; wait until all agree."""
        seen = await self._seen()
        masters = [node for node in self.nodes if not seen[node].master_id]
        ids = {node: seen[node].id for node in masters}
        await reshard.classic(range(first, last + 1), source, target, ids, self.folder.spec.login)
        await self._until_moved(first, last, ids[target])

    async def reshard_atomic(self, first: int, last: int, source: ClusterNode, target: ClusterNode) -> None:
        """Move slots all at once (CLUSTER MIGRATESLOTS, Valkey 9). The target must have the function library."""
        target_id = (await self._seen())[target].id
        await reshard.atomic(first, last, source, target_id)
        await self._until_moved(first, last, target_id)

    async def add_master(self) -> ClusterNode:
        """Let an empty master join. It has no slots, no functions, and no replica. The folder does not remember it."""
        number, spec = len(self.nodes) + 1, self.folder.spec
        node = ClusterNode(self.folder.path / f"node-{number}", free_range(1), spec.binary or find_binary(), spec)
        await node.start()
        async with self.nodes[0].client() as client:
            await call(client, "CLUSTER MEET", HOST, node.port)
        self.folder.nodes.append(node)
        await self.folder.health()
        return node

    async def _until_moved(self, first: int, last: int, target_id: str) -> None:
        def not_yet(node: Health) -> str:
            moved = any(
                seen.id == target_id and any(low <= first and last <= high for low, high in seen.slots)
                for seen in node.seen
            )
            return "" if moved else f"does not know that slots {first}-{last} have moved"

        await until_agreed(self.nodes, _PATIENCE_S, not_yet)

    async def _seen(self) -> dict[ClusterNode, Seen]:
        health = await self.folder.health()
        return {node: next(seen for seen in own.seen if seen.id == own.id) for node, own in health.items()}


@contextmanager
def running_cluster(spec: ClusterSpec | None = None, *, query: str = "") -> Iterator[LocalCluster]:
    """A cluster in a temporary folder; 3 masters with a replica each unless `spec` says otherwise.

    Args:
        query: what its URL needs, as `?ssl_ca_certs=...`.
    """
    home = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    folder = ClusterFolder(home, spec)
    run_blocking(folder.start())
    try:
        yield LocalCluster(folder, query)
    finally:
        # Killed, for what is paused or was forgotten must not make the tests wait.
        for node in folder.nodes:
            node.kill()
        run_blocking(folder.stop())
        shutil.rmtree(home, ignore_errors=True)


def _pid(node: ClusterNode) -> int:
    if node.pid is None:
        raise AssertionError(f"{node.address} does not run")
    return node.pid

"""A local cluster: masters and replicas of the bundled server on loopback, in one folder, without containers.

The folder remembers it: started again, it has its data, its ports, and the roles that the last failover left.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from hotsku.errors import HotSKUError, InvalidSettings
from hotsku.shard.cluster_forming import form
from hotsku.shard.cluster_node import ClusterNode
from hotsku.shard.cluster_owner import FolderOwner
from hotsku.shard.cluster_spec import ClusterSpec, Layout, layout_of, write_layout
from hotsku.shard.cluster_view import Health, until_agreed
from hotsku.shard.launcher import find_binary

_READY_TIMEOUT_S = 60.0
_LOOK_S = 0.25


class ClusterFolder:
    """A cluster's servers, as long as it is open; its data stay in the folder.

        async with ClusterFolder(Path("cluster")) as cluster:
            ...                      # use cluster.url

    One process at a time runs a folder's servers. They end with it, also when it is killed (see `cluster_keeper`).

    Args:
        path: the folder; made where it is absent.
        spec: what to start.
    """

    def __init__(self, path: Path, spec: ClusterSpec | None = None) -> None:
        self.path = path.absolute()
        self.spec = spec or ClusterSpec()
        self.nodes: list[ClusterNode] = []
        self.layout: Layout | None = None

    @property
    def seeds(self) -> str:
        """The nodes that began as masters, as HOST:PORT with commas; they stay the same over failovers."""
        masters = self.layout.masters if self.layout else 0
        return ",".join(node.address for node in self.nodes[:masters])

    @property
    def url(self) -> str:
        """The `shard_url` for it."""
        return f"{'rediss' if self.spec.tls else 'redis'}+cluster://{self.seeds}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the servers and wait until they are one cluster, with every replica connected.

        Raises:
            InvalidSettings: the folder cannot be used, is in use, or holds another cluster; a port is taken; there is
                no server to start.
            BackendUnavailable: a server does not start, or the cluster is not ready in a minute.
        """
        binary = self.spec.binary or find_binary()
        self._owner = _owner(self.path)
        try:
            await self._owner.take()
            layout = layout_of(self.path, self.spec)
            if not layout.formed:
                self._begin_anew(layout)
            self.layout = layout
            self.nodes = [
                ClusterNode(self.path / f"node-{number}", port, binary, self.spec)
                for number, port in enumerate(layout.ports, 1)
            ]
            await asyncio.gather(*(node.start() for node in self.nodes))
            await self._form_or_wait(layout)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the servers in order, and let others use the folder. What is paused or dead is fine.

        Raises:
            BackendUnavailable: a server does not end.
        """
        try:
            await self._owner.leave()
        finally:
            for node in self.nodes:
                node.close()

    async def health(self) -> dict[ClusterNode, Health]:
        """Wait until the cluster is well again, as after a failover or the restart of a node.

        Raises:
            BackendUnavailable: it is not in a minute; says what is lacking.
        """
        return await until_agreed(self.nodes, _READY_TIMEOUT_S)

    async def keep_alive(self, say: Callable[[str], None]) -> None:
        """Start nodes again that died, after their replicas had time to take over. Runs until it is cancelled.

        Args:
            say: hears what happens, a line at a time.
        """
        await asyncio.gather(*(self._keep_alive(node, say) for node in self.nodes))

    async def _keep_alive(self, node: ClusterNode, say: Callable[[str], None]) -> None:
        pause_s = 2.5 * self.spec.node_timeout_ms / 1000
        while True:
            while not node.dead():  # noqa: ASYNC110 - flock has no event to await
                await asyncio.sleep(_LOOK_S)
            say(f"{node.address} has ended; it starts again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            try:
                await node.start()
                say(f"{node.address} runs again")
            except HotSKUError as error:
                say(f"{node.address} does not start: {error}")

    def _begin_anew(self, layout: Layout) -> None:
        """Nobody was told of a cluster that was never formed, so nothing of value is in what is left of it."""
        for left in self.path.glob("node-*"):
            shutil.rmtree(left)
        write_layout(self.path, layout)

    async def _form_or_wait(self, layout: Layout) -> None:
        if layout.formed:
            await self.health()
            return
        await form(self.nodes, layout.masters, _READY_TIMEOUT_S)
        write_layout(self.path, msgspec.structs.replace(layout, formed=True))


def _owner(path: Path) -> FolderOwner:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FolderOwner(path)
    except OSError as error:
        raise InvalidSettings(
            f"the folder {path} cannot be used ({error.strerror}); name one that you may write to"
        ) from None

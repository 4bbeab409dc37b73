"""A random schedule of faults against a cluster and the shop on it, drawn from a seed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from redis.exceptions import RedisError

from hotsku.domain.events import PartitionRef
from hotsku.domain.placement import point_of, slot_of_point
from hotsku.errors import BackendUnavailable
from hotsku.shard.cluster_node import ClusterNode
from hotsku.shard.cluster_view import call
from tests.support.chaos_shop import ChaosShop
from tests.support.cluster import LocalCluster
from tests.support.shop import ITEM_ID

_UNREACHABLE = (RedisError, OSError, BackendUnavailable, TimeoutError)


class Schedule:
    """Draws what happens next, and says what it did.

    Args:
        stale: copies that lack something may be promoted by force; sales may be forgotten then.
    """

    def __init__(self, cluster: LocalCluster, shop: ChaosShop, random: Random, partitions: int, *, stale: bool) -> None:
        self._cluster = cluster
        self._shop = shop
        self._random = random
        self._partitions = partitions
        self._stale = stale
        self.done: list[str] = []
        self._again: list[asyncio.Task[None]] = []

    async def run(self, seconds: float) -> None:
        """Faults, one after the other; some last while the next ones come."""
        nodes: tuple[Callable[[], Awaitable[None]], ...] = (
            self._kill,
            self._kill,
            self._pause,
            self._pause,
            self._failover,
            self._failover,
            self._restart_at_once,
            self._move_slots,
            self._move_slots,
        )
        ours: tuple[Callable[[], Awaitable[None]], ...] = (
            self._kill_workers,
            self._kill_workers,
            self._kill_role,
            self._second_workers,
            self._kill_engine,
            self._freeze_engine,
            self._freeze_engine,
            self._ledger_away,
            self._ledger_unsure,
            self._broker_loses,
        )
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await self._random.choice(nodes if self._random.random() < 0.55 else ours)()
            await asyncio.sleep(self._random.choice((0.02, 0.1, 0.3, 0.8, 2.0)))

    async def heal(self) -> None:
        """All faults end."""
        for task in self._again:
            task.cancel()
        await asyncio.gather(*self._again, return_exceptions=True)
        self._shop.faults.heal()
        for engine in self._shop.engines:
            engine.thaw()
        await self._cluster.heal()
        await self._shop.kill_workers()
        await self._shop.start_workers()

    def _say(self, what: str) -> None:
        self.done.append(what)
        print(f"  {asyncio.get_running_loop().time():.2f} {what}", flush=True)

    def _later(self, what: str, work: Callable[[], Awaitable[None]], most_s: float) -> None:
        delay_s = self._random.choice((0.1, 0.5, 0.2 * most_s, 0.5 * most_s, most_s))

        async def later() -> None:
            await asyncio.sleep(delay_s)
            self._say(f"{what} after {delay_s:g} s")
            await work()

        self._again.append(asyncio.create_task(later()))

    # --- the servers ---

    def _living(self) -> list[ClusterNode]:
        """Those that run; one that is just being started does not yet."""
        running = [node for node in self._cluster.nodes if node.pid is not None and not node.dead()]
        return [node for node in running if node not in self._cluster._paused]

    def _a_node(self) -> ClusterNode | None:
        """One that may fail now: a majority of the nodes goes on."""
        living = self._living()
        return self._random.choice(living) if len(living) > 4 else None

    async def _kill(self) -> None:
        if (node := self._a_node()) is None:
            return
        self._say(f"kill {node.port}")
        self._cluster.kill(node)
        self._later(f"start {node.port}", node.start, 8)

    async def _restart_at_once(self) -> None:
        if (node := self._a_node()) is None:
            return
        self._say(f"restart {node.port}")
        self._cluster.kill(node)
        await node.start()

    async def _pause(self) -> None:
        if (node := self._a_node()) is None:
            return
        self._say(f"pause {node.port}")
        self._cluster.pause(node)

        async def resume() -> None:
            if node in self._cluster._paused and node.pid is not None:
                self._cluster.resume(node)

        self._later(f"resume {node.port}", resume, 6)

    async def _failover(self) -> None:
        """By hand; by force only where the copy follows its master now, or may be stale."""
        node = self._random.choice(self._living())
        how = self._random.choice(("", "", "FORCE", "TAKEOVER"))
        with suppress(*_UNREACHABLE):
            async with node.client() as client:
                info = await client.info("replication")
                if info["role"] != "slave" or (how and not self._stale and info["master_link_status"] != "up"):
                    return
                self._say(f"failover {how} to {node.port}")
                await call(client, f"CLUSTER FAILOVER {how}".strip())

    async def _move_slots(self) -> None:
        """There and, mostly, back. Not while nodes fail: a move that is cut short takes a person."""
        if len(self._living()) < len(self._cluster.nodes) or any(not task.done() for task in self._again):
            return
        slot = slot_of_point(point_of(PartitionRef(ITEM_ID, self._random.randrange(self._partitions))))
        with suppress(*_UNREACHABLE):
            masters = await self._cluster.masters()
            source = await self._cluster.owner(slot)
            target = self._random.choice([node for node in masters if node is not source])
            move = self._random.choice((self._cluster.reshard_classic, self._cluster.reshard_atomic))
            self._say(f"{move.__name__} {slot} from {source.port} to {target.port}")
            await move(slot - 2, slot + 2, source, target)
            if self._random.random() < 0.7:
                await asyncio.sleep(self._random.choice((0, 0.05, 0.3, 1.5)))
                self._say(f"and {slot} back")
                await move(slot - 2, slot + 2, target, source)

    # --- our own processes ---

    async def _kill_workers(self) -> None:
        self._say("kill the workers")
        await self._shop.kill_workers()
        self._later("start workers", self._shop.start_workers, 3)

    async def _kill_role(self) -> None:
        name = self._random.choice(("relay", "applier", "replenisher", "recoverer", "recoverer"))
        self._say(f"kill the {name}")
        await self._shop.kill_role(name)
        self._later("start workers", self._shop.start_workers, 3)

    async def _second_workers(self) -> None:
        if len(self._shop.workers) < 3:
            self._say("more workers")
            await self._shop.start_workers()

    async def _kill_engine(self) -> None:
        number = self._random.randrange(len(self._shop.engines))
        self._say(f"kill engine {number}")
        await self._shop.replace_engine(number)

    async def _freeze_engine(self) -> None:
        engine = self._random.choice(self._shop.engines)
        self._say(f"freeze engine {self._shop.engines.index(engine)}")
        engine.freeze()

        async def thaw() -> None:
            engine.thaw()

        self._later("thaw it", thaw, 7)

    async def _ledger_away(self) -> None:
        self._say("the ledger is away")
        self._shop.faults.ledger_away = True

        async def back() -> None:
            self._shop.faults.ledger_away = False

        self._later("the ledger is back", back, 6)

    async def _ledger_unsure(self) -> None:
        share = self._random.choice((0.05, 0.3))
        self._say(f"the ledger's answers are lost: {share}")
        self._shop.faults.lost_answers = share

        async def back() -> None:
            self._shop.faults.lost_answers = 0

        self._later("the ledger answers", back, 5)

    async def _broker_loses(self) -> None:
        self._shop.faults.lost_messages, self._shop.faults.twice = self._random.choice(((1, 0), (0.3, 0.3), (0, 1)))
        self._say(f"the broker loses {self._shop.faults.lost_messages}, twice {self._shop.faults.twice}")

        async def back() -> None:
            self._shop.faults.lost_messages = self._shop.faults.twice = 0

        self._later("the broker keeps", back, 5)

"""Engines and workers on a test's server, and what a test asks of a sale when it is over."""

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from hotsku import BackendUnavailable, Deduction, HotSKUError, Outcome
from hotsku.app import ROLES, running_workers
from hotsku.domain.events import PartitionRef
from hotsku.engine.inventory import Inventory
from hotsku.engine.item_path import ItemPaths
from hotsku.engine.needs import NeedsBoard
from hotsku.engine.timing import Timing
from hotsku.ports import Ledger, Work
from hotsku.receipts import Signer
from hotsku.settings import Settings
from hotsku.shard.address import Address
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.shard.topology import OneServer
from hotsku.stack import Stack, open_stack
from hotsku.workers.auditor import Auditor
from hotsku.workers.loop import WorkerLoop
from tests.support.databases import rows_at
from tests.support.servers import TestServer
from tests.support.workers import until

_namespaces = itertools.count(1)

# Longer than a machine stands still now and then; tests of what happens when a wait is over say their own.
_PATIENCE_S = 60
_PATIENT = Timing(patience_ms=_PATIENCE_S * 1000)

Answer = Deduction | HotSKUError


class Bench:
    """One stack, and any number of engines on it."""

    def __init__(self, stack: Stack, server: TestServer, exits: AsyncExitStack) -> None:
        self.stack = stack
        self.server = server
        self.shard = stack.shard()
        exits.callback(self.shard.close)
        self.engine_ids: list[str] = []
        self._exits = exits

    async def engine(
        self,
        *,
        via: Path | None = None,
        timing: Timing | None = None,
        call_timeout_s: float = _PATIENCE_S,
        signer: Signer | None = None,
        ledger: Ledger | None = None,
    ) -> Inventory:
        """An engine as another process has it; `via` is the socket of a proxy, `ledger` stands before the stack's."""
        ledger = ledger or self.stack.ledger
        shard = _shard(self.stack, via or self.server.socket, call_timeout_s)
        self._exits.callback(shard.close)
        board = NeedsBoard(secrets.token_hex(4), self.stack.signals, self.stack.clock)
        self.engine_ids.append(board.engine_id)
        ids = itertools.count()
        paths = ItemPaths(
            ledger=ledger,
            shard=shard,
            clock=self.stack.clock,
            board=board,
            relay_max_events=self.stack.settings.relay_max_events,
            draw_id=lambda: f"{board.engine_id}-{next(ids)}",
            pick=secrets.randbelow,
            timing=timing or _PATIENT,
            signer=signer,
        )
        inventory = Inventory(
            ledger=ledger,
            shard=shard,
            signals=self.stack.signals,
            clock=self.stack.clock,
            paths=paths,
            board=board,
            durability="durable",
            audit=Auditor(self.stack.ledger, shard).audit,
        )
        return await self._exits.enter_async_context(inventory)

    async def workers(self, roles: Sequence[str] = ROLES) -> WorkerLoop:
        """Workers that run until the test ends."""
        loop = await self._exits.enter_async_context(running_workers(self.stack, roles))
        await self.stack.signals.listening()
        return loop

    async def settled(self, sku: str, units: int) -> None:
        """Wait until the ledger has so many units as sold, and audit it."""

        async def sold() -> bool:
            item = await self.stack.ledger.item(sku)
            assert item is not None
            if (await self.stack.ledger.standing(item.id)).sold >= units:
                return True
            refs = [PartitionRef(item.id, number) for number in range(item.spec.partitions)]
            self.stack.signals.publish(Work(flush=refs))  # not to wait until the relay has noticed a new item
            await asyncio.sleep(0.05)
            return False

        await until(sold)
        auditor = Auditor(self.stack.ledger, self.shard)
        with suppress(TimeoutError):
            await until(lambda: _is_green(auditor))  # after a restart it is not, until all is armed again
        report = await auditor.audit()
        assert report.ok, [equation for equation in report.equations if not equation.holds]

    async def order_rows(self, sku: str) -> "Counter[tuple[str, str, int]]":
        """The accepted orders that the ledger has: (buyer, order, quantity)."""
        query = "SELECT buyer_id, order_id, quantity FROM deductions JOIN items ON id = item_id WHERE sku = :sku"
        rows = await asyncio.to_thread(rows_at, self.stack.settings.ledger_url, query, sku=sku)
        return Counter((buyer, order, quantity) for buyer, order, quantity in rows)


async def decided(call: Callable[[], Awaitable[Deduction]]) -> Deduction:
    """Call again for as long as the shard is not there: an impatient engine says so while a machine is slow."""
    while True:
        with suppress(BackendUnavailable):
            return await call()
        await asyncio.sleep(0.02)


async def _is_green(auditor: Auditor) -> bool:
    return (await auditor.audit()).ok


def _shard(stack: Stack, socket: Path, timeout_s: float) -> WireShard:
    return WireShard(Router(OneServer(lambda: Address(path=str(socket))), timeout_s), stack.keys)


@asynccontextmanager
async def open_bench(
    server: TestServer, folder: Path, relay_interval_ms: int = 50, ledger_url: str = ""
) -> AsyncIterator[Bench]:
    """A stack on a server, in a namespace of its own, with a ledger in `folder`, or at a URL."""
    made = Settings(
        shard_url=server.url,
        ledger_url=ledger_url or f"sqlite:///{folder}/ledger.db",
        namespace=f"t{next(_namespaces)}",
        relay_interval_ms=relay_interval_ms,
        shard_timeout_ms=_PATIENCE_S * 1000,
    )
    async with open_stack(made) as stack, AsyncExitStack() as exits:
        yield Bench(stack, server, exits)


def outcomes(answers: Iterable[Answer | BaseException]) -> Counter[str]:
    """How many answers of each kind."""
    return Counter(a.outcome.value if isinstance(a, Deduction) else type(a).__name__ for a in answers)


def accepted_units(answers: Iterable[Answer | BaseException]) -> int:
    """The units of the accepted orders, each order once."""
    sold = {
        (answer.buyer_id, answer.order_id): answer.quantity
        for answer in answers
        if isinstance(answer, Deduction) and answer.outcome is Outcome.ACCEPTED
    }
    return sum(sold.values())

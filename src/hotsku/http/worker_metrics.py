"""The metrics of a worker process: `hotsku worker --metrics-port N` serves them beside its work."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hotsku.errors import BackendUnavailable, InvalidSettings
from hotsku.http.metrics import stock_families, worker_families
from hotsku.http.stock_figures import StockFigures, StockReader
from hotsku.ports import Lost
from hotsku.stack import Stack
from hotsku.worker_counts import counts_of
from hotsku.workers.loop import WorkerLoop

# A scraper waits for some seconds; the back ends may be away.
_FIGURES_TIMEOUT_S = 2.0
_TIMEOUT_S = 5.0


def worker_metrics(host: str, port: int) -> Callable[[Stack, WorkerLoop], AbstractAsyncContextManager[None]]:
    """What `hotsku.app.run_worker` is to be watched by, to have its metrics served at an address."""

    @asynccontextmanager
    async def watch(stack: Stack, loop: WorkerLoop) -> AsyncIterator[None]:
        shard = stack.shard()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_WorkerCollector(loop, StockReader(stack.ledger, shard)))
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as error:
            raise InvalidSettings(f"metrics-port must be free here: {host}:{port}: {error.strerror}") from None
        try:
            yield
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(thread.join)
            shard.close()

    return watch


class _WorkerCollector(Collector):
    """Collects in the thread of the scrape what the roles count, and asks the event loop for the figures."""

    def __init__(self, worker: WorkerLoop, stock: StockReader) -> None:
        self._worker = worker
        self._stock = stock
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterable[Metric]:
        figures = asyncio.run_coroutine_threadsafe(self._figures(), self._loop).result(_TIMEOUT_S)
        yield from worker_families(counts_of(self._worker), figures)
        yield from stock_families(figures)

    async def _figures(self) -> StockFigures | None:
        try:
            async with asyncio.timeout(_FIGURES_TIMEOUT_S):
                return await self._stock.read()
        except (BackendUnavailable, Lost, TimeoutError):
            return None

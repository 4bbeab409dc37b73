"""Counters and figures as Prometheus has them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hotsku.domain.events import PartitionRef
from hotsku.engine.batch_sizes import BOUNDS, BatchSizes
from hotsku.http.counters import LATENCY_BOUNDS_MS, Counters
from hotsku.http.stock_figures import ItemFigures, PartitionFigures, StockFigures
from hotsku.worker_counts import WorkerCounts

_BOUNDS_S = [f"{bound / 1000:g}" for bound in LATENCY_BOUNDS_MS] + ["+Inf"]


def exposed(families: Iterable[Metric], accept: str) -> tuple[str, bytes]:
    """The families as text.

    Args:
        accept: an Accept header; it may ask for OpenMetrics.

    Returns:
        The content type and the text.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(families)))
    encoder, media = choose_encoder(accept)
    return media, encoder(registry)


def request_families(counters: Counters) -> Iterator[Metric]:
    """What the server processes counted."""
    requests = CounterMetricFamily(
        "hotsku_http_requests", "Answers, by route, status and what they say.", labels=["route", "status", "label"]
    )
    latency = HistogramMetricFamily(
        "hotsku_http_request_seconds", "From the head of a request to its answer.", labels=["route"]
    )
    for name, route in sorted(counters.routes.items()):
        for (status, label), count in sorted(route.answered.items()):
            requests.add_metric([name, str(status), label], count)
        latency.add_metric([name], _cumulated(_BOUNDS_S, route.latency.counts), route.latency.sum_ms / 1000)
    yield requests
    yield latency
    yield _batch_family(counters.batches)
    yield counter_family("hotsku_orders", "Orders, by what became of them.", "outcome", counters.orders)
    yield counter_family("hotsku_http_dropped", "Connections that were ended, by why.", "reason", counters.dropped)
    levels = GaugeMetricFamily("hotsku_http_level", "What there is now: see the label.", labels=["of"])
    for name, level in sorted(counters.levels.items()):
        levels.add_metric([name], level)
    yield levels


def worker_families(counts: WorkerCounts, figures: StockFigures | None) -> Iterator[Metric]:
    """What a worker process counted; how far its relay is behind, if the back ends have said where the streams are."""
    yield counter_family("hotsku_worker_role_failures", "Times that a role failed.", "role", counts.failures)
    yield counter_family("hotsku_applier_messages", "Messages, by what became of them.", "result", counts.messages)
    yield counter_family("hotsku_replenisher_steps", "Rounds, leases and reclaims.", "step", counts.steps)
    if counts.published is None or figures is None:
        return
    published = {each.ref: (each.incarnation, each.seq) for each in counts.published}
    lag = GaugeMetricFamily("hotsku_relay_lag_events", "Events that are not sent on yet.", labels=["sku"])
    for item in figures.newest:
        lag.add_metric([item.sku], sum(_unsent(item.partitions, published)))
    yield lag


def _unsent(partitions: Iterable[PartitionFigures], published: Mapping[PartitionRef, tuple[int, int]]) -> Iterator[int]:
    for partition in partitions:
        row, status = partition.row, partition.status
        incarnation, seq = published.get(row.ref, (row.incarnation, row.watermark))
        if status is not None and status.incarnation == incarnation:
            yield max(0, status.seq - seq)


def stock_families(figures: StockFigures | None) -> Iterator[Metric]:
    """What the back ends said; None: they did not answer."""
    yield GaugeMetricFamily("hotsku_back_ends_up", "1 if ledger and shards answered.", 0 if figures is None else 1)
    if figures is None:
        return
    yield GaugeMetricFamily("hotsku_items", "Items that there are; only the newest are told apart.", figures.items)
    yield GaugeMetricFamily("hotsku_partitions", "Partitions that there are.", figures.partitions)
    yield from _item_families(figures.newest)
    yield from _partition_families(figures.newest)


_ItemValue = Callable[[ItemFigures], int]

_ITEM: tuple[tuple[str, str, _ItemValue], ...] = (
    ("total", "Units of the item.", lambda item: item.standing.total),
    ("pool", "Units that no partition holds.", lambda item: item.standing.pool),
    ("preallocated", "Units that partitions hold, as the ledger knows it.", lambda item: item.standing.preallocated),
    ("held", "Units on hold, as the ledger knows it.", lambda item: item.standing.held),
    ("sold", "Units sold, as the ledger knows it.", lambda item: item.standing.sold),
    ("quarantined", "Pre-allocated units that wait for proof.", lambda item: item.standing.quarantined),
    ("available", "Units that could be sold now.", lambda item: item.available),
    ("ledger_lag_events", "Events that the ledger does not have yet.", lambda item: item.lag),
    ("fenced", "Partitions that are fenced.", lambda item: item.fenced),
)


def _item_families(items: list[ItemFigures]) -> Iterator[Metric]:
    for name, words, value in _ITEM:
        family = GaugeMetricFamily(f"hotsku_item_{name}", words, labels=["sku"])
        for item in items:
            family.add_metric([item.sku], value(item))
        yield family


def _partition_families(items: list[ItemFigures]) -> Iterator[Metric]:
    bucket = GaugeMetricFamily(
        "hotsku_partition_bucket", "Units in a bucket.", labels=["sku", "partition", "bucket", "role"]
    )
    leases = CounterMetricFamily(
        "hotsku_partition_leases", "Leases from the pool: refills.", labels=["sku", "partition", "incarnation"]
    )
    reclaims = CounterMetricFamily(
        "hotsku_partition_reclaims", "Times that units were taken back.", labels=["sku", "partition", "incarnation"]
    )
    for item in items:
        for partition in item.partitions:
            row, status = partition.row, partition.status
            place = [item.sku, str(row.partition)]
            leases.add_metric([*place, str(row.incarnation)], row.lease_no)
            if status is None:
                continue
            reclaims.add_metric([*place, str(row.incarnation)], status.reclaim_no)
            for name, units in (("a", status.left_a), ("b", status.left_b)):
                bucket.add_metric([*place, name, "active" if name == status.active else "standby"], units)
    yield from (bucket, leases, reclaims)


def counter_family(name: str, words: str, label: str, counts: Mapping[str, int]) -> Metric:
    """Counts by one label."""
    family = CounterMetricFamily(name, words, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _batch_family(batches: Mapping[str, BatchSizes]) -> Metric:
    family = HistogramMetricFamily("hotsku_batch_requests", "Requests in one call of a shard.", labels=["of"])
    bounds = [*map(str, BOUNDS), "+Inf"]
    for name, sizes in sorted(batches.items()):
        family.add_metric([name], _cumulated(bounds, [*sizes.counts, 0]), sizes.requests)
    return family


def _cumulated(bounds: Sequence[str], counts: Sequence[int]) -> list[tuple[str, float]]:
    so_far, buckets = 0, []
    for bound, count in zip(bounds, counts, strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return buckets


class _Once(Collector):
    """Gives what was collected before."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

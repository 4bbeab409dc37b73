"""A sale, what things cost, and what a sale needs: the words of the capacity model. See docs/scaling.md."""

from msgspec import Struct

from hotsku.domain.queueing import Steady


class Sale(Struct, frozen=True, kw_only=True):
    """A sale. All buyers come within `seconds`, evenly, and want `quantity` each; the share `retries` of the requests
    is sent twice."""

    buyers: int
    stock: int
    seconds: float
    quantity: int = 1
    retries: float = 0.05

    @property
    def requests_per_s(self) -> float:
        return self.buyers * (1 + self.retries) / self.seconds

    @property
    def orders(self) -> int:
        """Those that are accepted."""
        return min(self.buyers, self.stock // self.quantity)

    @property
    def sold_s(self) -> float:
        """After how long they are."""
        return self.seconds * self.orders / self.buyers


class Constants(Struct, frozen=True, kw_only=True):
    """What things cost. Those in `_us` are microseconds of CPU; `MEASURED_BY` says how each is measured.

    Attributes:
        gateway_us, gateway_call_us: a request, and a function call, in a gateway process.
        sale_us, sale_call_us, no_us, no_call_us: an order that is accepted or refused, and a call, on a shard.
        sync_ms: an fsync on the shard's disk.
        travel_ms: gateway to shard and back.
        replica_ms: what an acknowledgement waits for the replicas on top; 0 without replicas.
        waiting_bytes, kept_bytes: an order's memory on its shard before and after the ledger has it.
        broker_per_s, ledger_per_s: details a second.
        lease_ms: a round of leases for all partitions: a ledger transaction, and the installing.
        load: how much of its time a core may spend on what does not get cheaper in larger batches.
        p99_ms: what the shards may take to answer 99 of 100 orders.
    """

    gateway_us: float = 32.0
    gateway_call_us: float = 120.0
    sale_us: float = 2.1
    sale_call_us: float = 48.0
    no_us: float = 0.7
    no_call_us: float = 22.0
    sync_ms: float = 0.2
    travel_ms: float = 0.3
    replica_ms: float = 0.0
    waiting_bytes: float = 154.0
    kept_bytes: float = 101.0
    broker_per_s: float = 800_000.0
    ledger_per_s: float = 70_000.0
    lease_ms: float = 4.1
    load: float = 0.7
    p99_ms: float = 100.0


MEASURED_BY = {
    "gateway_us": "python -m benchmarks.http --partitions 1 (CPU of the route)",
    "gateway_call_us": "hotsku bench costs",
    "sale_us": "hotsku bench costs",
    "sale_call_us": "hotsku bench costs",
    "no_us": "hotsku bench costs",
    "no_call_us": "hotsku bench costs",
    "sync_ms": "hotsku bench (in the report's heading)",
    "travel_ms": "assumed: two machines in one network",
    "replica_ms": "hotsku bench masters (a sale alone, with replicas less without)",
    "waiting_bytes": "hotsku bench memory",
    "kept_bytes": "hotsku bench memory",
    "broker_per_s": "hotsku bench brokers",
    "ledger_per_s": "hotsku bench drain",
    "lease_ms": "hotsku bench costs",
    "load": "chosen",
    "p99_ms": "chosen",
}


class Sizing(Struct, frozen=True, kw_only=True):
    """What the sale needs.

    Attributes:
        requests_per_s: that arrive.
        sold_s: after how long the stock is sold, or all buyers have theirs.
        shards, partitions: masters, and partitions of the item in all.
        gateways: processes, which are cores.
        sales, noes: a shard and its orders while there is stock, and afterwards.
        first_lease, second_lease: units that each partition has before the first sale.
        lease_rounds, lease_s: how the rest gets to the partitions.
        memory_mib: of a shard, for the orders alone, when the ledger has none of them, and when it has all.
        broker_s, ledger_s: until each has all details, from the first sale.
        bottleneck: what most of the cores are for.
        warnings: what will not go well.
    """

    requests_per_s: float
    sold_s: float
    shards: int
    partitions: int
    gateways: int
    sales: Steady
    noes: Steady
    first_lease: int
    second_lease: int
    lease_rounds: int
    lease_s: float
    memory_mib: list[float]
    broker_s: float
    ledger_s: float
    bottleneck: str
    warnings: list[str]

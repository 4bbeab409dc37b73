"""What the engine and the workers ask of the outside: the shard, the ledger, the broker, the signals, the clock."""

from hotsku.ports.batches import BatchReply, OrderBatch, Step, StepBatch, StepReply
from hotsku.ports.broker import Broker, Delivery
from hotsku.ports.clock import Clock
from hotsku.ports.figures import ItemFigures, LedgerFigures, PartitionFigures, Tally
from hotsku.ports.ledger import Adjusted, Applied, Archived, Created, Ledger
from hotsku.ports.refusals import Fenced, Late, Lost, Refusal, Stale, Unsure
from hotsku.ports.rows import CartRow, DetailRow, EventRow, Grant, Lease, PartitionRow
from hotsku.ports.shard import Durability, Loaded, PartitionStatus, Shard, Swept, Waiting
from hotsku.ports.signals import Ask, Counted, FencedReport, Needs, News, Refill, Signals, Work
from hotsku.ports.spans import NO_SPANS, Span, Spans

__all__ = [
    "NO_SPANS",
    "Adjusted",
    "Applied",
    "Archived",
    "Ask",
    "BatchReply",
    "Broker",
    "CartRow",
    "Clock",
    "Counted",
    "Created",
    "Delivery",
    "DetailRow",
    "Durability",
    "EventRow",
    "Fenced",
    "FencedReport",
    "Grant",
    "ItemFigures",
    "Late",
    "Lease",
    "Ledger",
    "LedgerFigures",
    "Loaded",
    "Lost",
    "Needs",
    "News",
    "OrderBatch",
    "PartitionFigures",
    "PartitionRow",
    "PartitionStatus",
    "Refill",
    "Refusal",
    "Shard",
    "Signals",
    "Span",
    "Spans",
    "Stale",
    "Step",
    "StepBatch",
    "StepReply",
    "Swept",
    "Tally",
    "Unsure",
    "Waiting",
    "Work",
]

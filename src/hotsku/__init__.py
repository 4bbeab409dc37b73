"""HotSKU sells every unit of a hot item exactly once, at the speed of memory.

async with hotsku.connect() as stock:
    await stock.create_item("sneaker-42", total=10_000, partitions=8)
    deduction = await stock.deduct("sneaker-42", 1, order_id="o-1", buyer_id="u-7")
"""

from importlib.metadata import version

from hotsku.app import connect
from hotsku.domain.cart import Cart, CartLine, LineAnswer
from hotsku.domain.conservation import AuditReport
from hotsku.domain.deduction import Deduction, Order, OrderState, Outcome
from hotsku.domain.events import EventKind
from hotsku.engine.inventory import Inventory
from hotsku.engine.views import ItemView, OrderEvent, PartitionView
from hotsku.errors import (
    BackendUnavailable,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    InvalidSettings,
    OutcomeUnknown,
    Overloaded,
    UnknownItem,
)
from hotsku.managing import StateChange
from hotsku.settings import Settings, load_settings

__version__ = version("hotsku")

__all__ = [
    "AuditReport",
    "BackendUnavailable",
    "Cart",
    "CartLine",
    "Deduction",
    "EventKind",
    "HotSKUError",
    "IdempotencyConflict",
    "InvalidRequest",
    "InvalidSettings",
    "Inventory",
    "ItemView",
    "LineAnswer",
    "Order",
    "OrderEvent",
    "OrderState",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "PartitionView",
    "Settings",
    "StateChange",
    "UnknownItem",
    "__version__",
    "connect",
    "load_settings",
]

"""All the hot routes of one server process."""

from hotsku.engine.inventory import Inventory
from hotsku.http.batches import DeductBatch
from hotsku.http.carts import cart_routes
from hotsku.http.counters import Counters
from hotsku.http.hot_routes import FastRoute, HotRoute
from hotsku.http.placing import Deduct, Reserve
from hotsku.http.showing import ShowOrder
from hotsku.http.stepping import step_routes


def fast_routes(stock: Inventory, counters: Counters) -> list[FastRoute]:
    """Those that may take the fast lane."""
    return [Deduct(stock, counters), Reserve(stock, counters), *step_routes(stock)]


def other_routes(stock: Inventory, counters: Counters) -> list[HotRoute]:
    """Those that are a task each."""
    return [DeductBatch(stock, counters), ShowOrder(stock), *cart_routes(stock, counters)]

"""The inventory: the public API of the engine. `hotsku.connect()` gives one."""

from hotsku.engine.carting import Carting
from hotsku.engine.lookup import Lookup
from hotsku.engine.managing import Managing
from hotsku.engine.stepping import Stepping


class Inventory(Carting, Stepping, Lookup, Managing):
    """Sells items: every unit exactly once.

    Use it as an async context manager, from one event loop. Any number of concurrent calls is welcome: they are
    coalesced, and the more there are the cheaper each is.

    Orders are accepted in `selling`, several at once in `carting`, led on in `stepping`, told of in `lookup`; items are
    in `catalogue`, and changed in `managing`.
    """

"""How long the engine waits, and for what; and when it has two calls under way."""

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """Milliseconds, but for `two_calls_from`.

    Attributes:
        patience_ms: how long an order waits, for stock or for the shard, before its caller is told that it could not
            be served. Time in which the engine's process stands still does not count.
        deadline_ms: a batch that reaches the shard later than this does nothing. It must be well below the patience,
            so that an order whose connection broke has a final answer in time.
        margin_ms: how far the shard's clock may go back.
        retry_ms: how often parked orders are tried without a word of new stock, for that may have been lost. Where a
            thousand items are dry at once, each of these calls is in the way of the stock that they wait for.
        trust_ms: for how long after a look at the ledger a partition's incarnation is believed to be the newest. Units
            of one that was lost are sold again no sooner than that, for a server that everybody else has given up may
            still answer this engine.
        look_ms: how often the engine looks.
        alone_ms: how long a copy that its cluster holds for dead is waited for before a sale is acknowledged without.
        two_calls_from: fewer requests than this, under way and waiting, go to a server in one call: a sync takes it as
            long as some fifty orders, and two calls have two. The more callers do with their time besides, the sooner
            two are worth it. `hotsku bench single` shows 64 and 512 callers who do nothing else.
    """

    patience_ms: int = 5000
    deadline_ms: int = 2000
    margin_ms: int = 500
    retry_ms: int = 500
    trust_ms: int = 30_000
    look_ms: int = 5_000
    alone_ms: int = 1_000
    two_calls_from: int = 160

"""What calls of deduct and step carry there and back."""

from msgspec import Struct

from hotsku.domain.events import PartitionRef
from hotsku.domain.order import StepVerb


class OrderBatch(Struct, frozen=True, gc=False):
    """Orders of one partition, as a call of the shard carries them.

    Attributes:
        take: False answers from the records only.
        orders: msgpack flat array of (order field, quantity), or (order field, (quantity, metadata, ttl in ms, 1 for a
            cart's line else 0)); at most 1,000 orders.
    """

    ref: PartitionRef
    incarnation: int
    take: bool
    orders: bytes


class BatchReply(Struct, frozen=True, gc=False):
    """What the deduct function decided: see shard/functions/deduct.lua for the codes. `copied`: every server that may
    take over from this one has it, too."""

    seq_before: int
    left: int
    refill: bool
    taken: int
    now_ms: int
    codes: str
    records: list[bytes]
    copied: bool = True


class Step(Struct, frozen=True):
    """A step in an order's life. `argument` is the payment reference (confirm), milliseconds (extend, begin_payment:
    the hold lasts at least so long from now), or units in all (refund; 0: all of them). `cart` says that the caller
    acts for the cart whose line the order is."""

    verb: StepVerb
    field: str
    argument: str | int = ""
    cart: bool = False


class StepBatch(Struct, frozen=True, gc=False):
    """Steps of one partition, as a call of the shard carries them: a msgpack array of (verb, order field, argument, 1
    for a cart's line else 0), at most 1,000."""

    ref: PartitionRef
    incarnation: int
    steps: bytes


class StepReply(Struct, frozen=True, gc=False):
    """What became of a batch of steps, a code each: see shard/functions/step.lua. The partition's seq is now
    `seq_before` + `events`. `copied` as in `BatchReply`."""

    seq_before: int
    events: int
    now_ms: int
    codes: str
    records: list[bytes]
    copied: bool = True

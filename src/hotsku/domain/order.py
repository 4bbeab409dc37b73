"""An order's life, as its home partition records it.

    held ──► confirmed ──► refunded          `deduct` is confirmed at once
      ├────► released
      └────► expired

Every step is a compare-and-set of the order's record in the home partition (shard/functions/step.lua), and an event of
the partition's stream. The record is text, so that a plain sale's is short:

    <born>:<quantity>:<incarnation>:<seq>:<at>
    <born>:<quantity>:<incarnation>:<seq>:<at>:<state>:<flags>:<expires at>:<refunded>:
        <step incarnation>:<step seq>:<step at>:<length of the payment reference>:<payment reference><metadata>

`born` is d (deducted) or h (held); `state` is h, c, r, e or f; flags add 1 (in payment) and 2 (a cart's line). What has
no tail is a deduction that nothing has happened to since, without metadata.
"""

from enum import StrEnum

from msgspec import Struct

from hotsku.domain.deduction import OrderState


class StepVerb(StrEnum):
    """A step in an order's life that a caller asks for."""

    BEGIN_PAYMENT = "begin_payment"
    CONFIRM = "confirm"
    RELEASE = "release"
    EXTEND = "extend"
    REFUND = "refund"


class OrderRecord(Struct, frozen=True):
    """An accepted order as its home partition has it. Times are milliseconds since the epoch, 0 is none.

    `incarnation`, `seq` and `at_ms` are those of its birth, `step_…` those of its latest step (0: there was none).
    `refunded` counts units. A hold expires at `expires_at_ms`, unless it is a cart's line: the cart's decision ends
    that one.
    """

    quantity: int
    incarnation: int
    seq: int
    at_ms: int
    held: bool = False
    state: OrderState = OrderState.CONFIRMED
    paying: bool = False
    cart: bool = False
    expires_at_ms: int = 0
    refunded: int = 0
    step_incarnation: int = 0
    step_seq: int = 0
    step_at_ms: int = 0
    payment_ref: str = ""
    metadata: str = ""

    def state_at(self, now_ms: int) -> OrderState:
        """The state that the next step would find: a hold past its time is expired, also before the reaper came."""
        due = self.state is OrderState.HELD and not self.cart and self.expires_at_ms <= now_ms
        return OrderState.EXPIRED if due else self.state


_STATES = {
    "h": OrderState.HELD,
    "c": OrderState.CONFIRMED,
    "r": OrderState.RELEASED,
    "e": OrderState.EXPIRED,
    "f": OrderState.REFUNDED,
}
_LETTERS = {state: letter for letter, state in _STATES.items()}
_PAYING, _CART = 1, 2
_HEAD, _TAIL = 5, 14


def parse_record(text: bytes) -> OrderRecord:
    """The record in `text`."""
    parts = text.split(b":", _TAIL - 1)
    quantity, incarnation, seq, at_ms = map(int, parts[1:_HEAD])
    if len(parts) == _HEAD:
        return OrderRecord(quantity, incarnation, seq, at_ms)
    flags, expires_at_ms, refunded, step_incarnation, step_seq, step_at_ms, length = map(int, parts[6:13])
    words = parts[13]
    return OrderRecord(
        quantity,
        incarnation,
        seq,
        at_ms,
        held=parts[0] == b"h",
        state=_STATES[parts[5].decode()],
        paying=bool(flags & _PAYING),
        cart=bool(flags & _CART),
        expires_at_ms=expires_at_ms,
        refunded=refunded,
        step_incarnation=step_incarnation,
        step_seq=step_seq,
        step_at_ms=step_at_ms,
        payment_ref=words[:length].decode(),
        metadata=words[length:].decode(),
    )


def format_record(record: OrderRecord) -> bytes:
    """The same, written; just as the scripts write it."""
    r = record
    head = f"{'h' if r.held else 'd'}:{r.quantity}:{r.incarnation}:{r.seq}:{r.at_ms}"
    if r == OrderRecord(r.quantity, r.incarnation, r.seq, r.at_ms):
        return head.encode()
    flags = _PAYING * r.paying + _CART * r.cart
    ref = r.payment_ref.encode()
    tail = (_LETTERS[r.state], flags, r.expires_at_ms, r.refunded, r.step_incarnation, r.step_seq, r.step_at_ms)
    return f"{head}:{':'.join(map(str, tail))}:{len(ref)}:".encode() + ref + r.metadata.encode()

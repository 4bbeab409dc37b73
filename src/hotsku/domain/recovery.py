"""Is what a shard holds all that it ever acknowledged, and still the same copy? Only then may it go on as it is.

And what comes back from the ledger where it may not.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hotsku.domain.deduction import OrderState
from hotsku.domain.order import OrderRecord

# For so long the record of an order that was released or expired answers on its shard.
RETENTION_MS = 24 * 60 * 60 * 1000

_ENDED = (OrderState.RELEASED, OrderState.EXPIRED)

Action = Literal["arm", "renew", "lost"]


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known of an unarmed partition.

    Of the ledger: the latest `ledger_incarnation`, its `watermark`, and its `durability` ("durable", "replicated" or
    "fast": see `PartitionRow`). Of the shard: `incarnation` (0: it does not have the partition), `seq`, the last seq of
    the stream, `sealed`, the seq that an orderly stop wrote down, and `whole`: see `PartitionStatus`.
    Of the shard's server: does it sync every write, and is it the only copy? `acknowledged_seq` is the highest seq that
    any engine reports to have acknowledged.
    """

    ledger_incarnation: int
    watermark: int
    durability: str
    incarnation: int
    seq: int
    stream_seq: int
    sealed: int | None
    whole: bool
    every_write_synced: bool
    single_copy: bool
    acknowledged_seq: int = 0


class Verdict(Struct, frozen=True):
    """What may be done with an unarmed partition.

    "arm": it has everything, and no other copy can answer in its place: it goes on under its incarnation. "renew": the
    shard and the ledger have everything that was acknowledged, but another copy may wake up, or records must come back
    from the ledger: its units are free for a new incarnation. "lost": sales that were acknowledged may be missing: a
    new incarnation begins, and its units wait. `reason` says why, for people.
    """

    action: Action
    reason: str

    @property
    def proven(self) -> bool:
        return self.action != "lost"


def judge_restart(evidence: Evidence) -> Verdict:
    """What the evidence proves."""
    verdict = _judge_events(evidence)
    if verdict.action == "arm" and evidence.stream_seq != evidence.seq:
        return Verdict("renew", "its stream is gone, but the ledger has every event of it")
    if verdict.action == "arm" and not evidence.whole:
        return Verdict("renew", "orders, buyers or holds are missing, but every event of theirs is there")
    return verdict


def _judge_events(evidence: Evidence) -> Verdict:
    missing = _what_is_missing(evidence)
    if missing:
        return Verdict("lost", missing)
    if evidence.seq < evidence.watermark and evidence.durability == "replicated" and evidence.every_write_synced:
        return Verdict("renew", "what was acknowledged is on every copy, and the ledger has more than that")
    if evidence.seq < evidence.watermark:
        return Verdict("lost", f"the shard is at seq {evidence.seq}, the ledger already at {evidence.watermark}")
    if evidence.sealed == evidence.seq:
        return Verdict("arm", "it was sealed by an orderly stop")
    if evidence.durability == "fast":
        return Verdict("lost", "not every write was synced on every copy, and it was not sealed")
    if not evidence.every_write_synced:
        return Verdict("lost", "the server does not sync every write")
    if evidence.durability == "replicated":
        return Verdict("renew", "what was acknowledged is on every copy")
    if not evidence.single_copy:
        return Verdict("lost", "the server is not the only copy")
    return Verdict("arm", "every write was synced, on the only copy")


def _what_is_missing(evidence: Evidence) -> str | None:
    e = evidence
    if e.incarnation == 0:
        return "the shard does not have the partition"
    if e.incarnation != e.ledger_incarnation:
        return f"the shard has incarnation {e.incarnation}, the ledger {e.ledger_incarnation}"
    is_booked = e.stream_seq == 0 and e.seq == e.watermark
    if e.stream_seq != e.seq and not is_booked:
        return f"the stream ends at {e.stream_seq}, not at seq {e.seq}"
    if max(e.seq, e.watermark) < e.acknowledged_seq:
        return f"the shard is at seq {e.seq}, but {e.acknowledged_seq} was acknowledged"
    return None


def is_forgotten(record: OrderRecord, now_ms: int) -> bool:
    """Has the order ended so long ago that its record need not come back?"""
    return record.state in _ENDED and record.step_at_ms < now_ms - RETENTION_MS


def held_at_least(record: OrderRecord, until_ms: int) -> OrderRecord:
    """The record with a hold's time prolonged to `until_ms`: of what a lost memory may have acknowledged (an extension,
    a confirmation) somebody may bring proof until then."""
    if record.state is not OrderState.HELD or record.expires_at_ms >= until_ms:
        return record
    return replace(record, expires_at_ms=until_ms)


def counted_units(record: OrderRecord, *, restores: bool) -> int:
    """The units of an order that count towards its buyer's limit: held, confirmed and refunded ones.

    Args:
        restores: the item was made with `refund_restores_limit`: refunded units do not count.
    """
    if record.state in _ENDED:
        return 0
    return record.quantity - record.refunded if restores else record.quantity

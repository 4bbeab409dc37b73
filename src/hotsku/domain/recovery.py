"""Is what a shard holds after a restart all that it ever acknowledged? Only then may it sell again as it is."""

from msgspec import Struct


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known of an unarmed partition.

    Of the ledger: the open `ledger_incarnation`, its `watermark`, and whether the incarnation `began_durable`.
    Of the shard: `incarnation` (0: it does not have the partition), `seq`, the last seq of the stream, and `sealed`,
    the seq that an orderly stop wrote down. Of the shard's server: does it sync every write, and is it the only copy?
    `acknowledged_seq` is the highest seq that any engine reports to have acknowledged.
    """

    ledger_incarnation: int
    watermark: int
    began_durable: bool
    incarnation: int
    seq: int
    stream_seq: int
    sealed: int | None
    every_write_synced: bool
    single_copy: bool
    acknowledged_seq: int = 0


class Verdict(Struct, frozen=True):
    """`reason` says why, in one line for people."""

    proven: bool
    reason: str


def judge_restart(evidence: Evidence) -> Verdict:
    """Proven: the partition may be armed again under its incarnation. Unproven: it needs a recovery."""
    missing = _what_is_missing(evidence)
    if missing:
        return Verdict(False, missing)
    if evidence.sealed == evidence.seq:
        return Verdict(True, "it was sealed by an orderly stop")
    if not evidence.began_durable:
        return Verdict(False, "it ran with durability fast, and was not sealed: its last sales may be gone")
    if not evidence.every_write_synced:
        return Verdict(False, "the server does not sync every write")
    if not evidence.single_copy:
        return Verdict(False, "the server is not the only copy")
    return Verdict(True, "every write was synced, on the only copy")


def _what_is_missing(evidence: Evidence) -> str | None:
    e = evidence
    if e.incarnation == 0:
        return "the shard does not have the partition"
    if e.incarnation != e.ledger_incarnation:
        return f"the shard has incarnation {e.incarnation}, the ledger {e.ledger_incarnation}"
    if e.stream_seq != e.seq:
        return f"the stream ends at {e.stream_seq}, not at seq {e.seq}"
    if e.seq < e.watermark:
        return f"the shard is at seq {e.seq}, the ledger already at {e.watermark}"
    if e.seq < e.acknowledged_seq:
        return f"the shard is at seq {e.seq}, but {e.acknowledged_seq} was acknowledged"
    return None

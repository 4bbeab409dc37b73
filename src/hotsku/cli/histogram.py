"""Latencies in buckets that grow by a sixteenth of an octave: cheap to collect, to send and to merge."""

from collections.abc import Mapping
from math import log2

_PER_OCTAVE = 16
_LEAST_MS = 0.001


def bucket_of(ms: float) -> int:
    """The bucket of a latency in milliseconds."""
    return int(log2(ms / _LEAST_MS) * _PER_OCTAVE) if ms > _LEAST_MS else 0


def bucket_ms(bucket: int) -> float:
    """The middle of a bucket, in milliseconds; at most 2.2 % from any latency in it."""
    return float(_LEAST_MS * 2 ** ((bucket + 0.5) / _PER_OCTAVE))


def merge(into: dict[int, int], counts: Mapping[int, int]) -> None:
    """Add `counts` (bucket to number of latencies) to `into`."""
    for bucket, count in counts.items():
        into[bucket] = into.get(bucket, 0) + count


def percentile_ms(counts: Mapping[int, int], percent: float) -> float:
    """The latency that `percent` of all latencies do not exceed; 0 where there are none."""
    wanted = sum(counts.values()) * percent / 100
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return bucket_ms(bucket)
    return 0.0

"""An audit that gives a stack which has just started the time to prove its memory."""

import asyncio
from collections.abc import Awaitable, Callable

from hotsku.domain.conservation import AuditReport
from hotsku.ports import Clock

# The recoverer arms partitions within about a second of a restart.
_PATIENCE_MS = 5_000.0
_POLL_S = 0.1
_FENCE = "I8"

Audit = Callable[[int | None], Awaitable[AuditReport]]


def when_armed(audit: Audit, clock: Clock) -> Audit:
    """The same audit. While nothing but fences is amiss, it looks again, for up to 5 s."""

    async def look_until_armed(item_id: int | None) -> AuditReport:
        until_ms = clock.monotonic_ms() + _PATIENCE_MS
        report = await audit(item_id)
        while not report.ok and _only_fenced(report) and clock.monotonic_ms() < until_ms:
            await asyncio.sleep(_POLL_S)
            report = await audit(item_id)
        return report

    return look_until_armed


def _only_fenced(report: AuditReport) -> bool:
    return all(problem.name == _FENCE for problem in report.problems)

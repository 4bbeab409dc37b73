"""CPU seconds of processes."""

import psutil

from hotsku.bench.report import Measured


class CpuMeter:
    """Counts the CPU seconds of this process and of others from its making on."""

    def __init__(self, *pids: int) -> None:
        self._own = psutil.Process()
        self._others = [psutil.Process(pid) for pid in pids]
        self._own_start = _seconds(self._own)
        self._others_start = [_seconds(process) for process in self._others]

    def stop(self, measured: Measured) -> Measured:
        """The same measurement with the CPU seconds that went by."""
        others = sum(_seconds(process) - start for process, start in zip(self._others, self._others_start, strict=True))
        return Measured(
            seconds=measured.seconds,
            accepted=measured.accepted,
            rejected=measured.rejected,
            replayed=measured.replayed,
            p50_ms=measured.p50_ms,
            p99_ms=measured.p99_ms,
            client_cpu_s=_seconds(self._own) - self._own_start,
            server_cpu_s=others,
        )


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

"""CPU seconds of processes."""

from collections.abc import Sequence

import psutil
from msgspec.structs import replace

from hotsku.bench.report import Measured


class CpuMeter:
    """Counts the CPU seconds of this process and of others from its making on.

    Args:
        servers, replicas: process ids; one that ends meanwhile is an error.
    """

    def __init__(self, servers: Sequence[int], replicas: Sequence[int] = ()) -> None:
        self._groups = [[psutil.Process()], [psutil.Process(pid) for pid in servers], [*map(psutil.Process, replicas)]]
        self._start = self._seconds()

    def stop(self, measured: Measured) -> Measured:
        """The same measurement with the CPU seconds that went by."""
        own, servers, replicas = (now - then for now, then in zip(self._seconds(), self._start, strict=True))
        return replace(measured, client_cpu_s=own, server_cpu_s=servers, replica_cpu_s=replicas)

    def _seconds(self) -> list[float]:
        return [sum(map(_seconds, group)) for group in self._groups]


class WorkerMeter:
    """Counts the CPU seconds of a worker process from `start` on. They count as the client's."""

    def __init__(self, worker: int) -> None:
        """
        Args:
            worker: its process id.
        """
        self._worker = psutil.Process(worker)
        self._start = 0.0

    def start(self) -> None:
        """Count from now on."""
        self._start = _seconds(self._worker)

    def stop(self, measured: Measured) -> Measured:
        """The same measurement with the CPU seconds that went by."""
        return replace(measured, client_cpu_s=_seconds(self._worker) - self._start)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

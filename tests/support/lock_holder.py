"""Holds a lock, and has a forked child that outlives it: `python lock_holder.py FILE`. The child says its pid."""

import os
import signal
import sys
from pathlib import Path

from hotsku.shard.locks import FileLock

if __name__ == "__main__":
    lock = FileLock(Path(sys.argv[1]))
    assert lock.try_take()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    signal.pause()

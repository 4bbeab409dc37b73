"""The worker process of a test's embedded folder: `python folder_worker.py FOLDER durability linger`.

It writes its pid to `worker.pid`, appends a line to `flushed` when it is alone, and holds there while `hold` exists.
"""

import asyncio
import os
import sys
from pathlib import Path

from redis import Redis

from hotsku.shard.launcher import DurabilityMode
from hotsku.shard.seat import WorkerSeat


async def main(home: Path, durability: DurabilityMode, linger_s: float) -> None:
    async with WorkerSeat(home, durability=durability, linger_s=linger_s) as seat:
        (home / "worker.pid").write_text(str(os.getpid()), "ascii")
        await seat.alone()
        with Redis(unix_socket_path=str(seat.socket), socket_timeout=60) as redis:
            redis.incr("flushed")
        with (home / "flushed").open("a") as log:
            log.write("flushed\n")
        while (home / "hold").exists():  # noqa: ASYNC110 - the test is another process
            await asyncio.sleep(0.02)
        await seat.stop_server()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "fast" if sys.argv[2] == "fast" else "durable", float(sys.argv[3])))

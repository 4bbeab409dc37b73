"""A process that uses an embedded folder until it is told to leave: `folder_user.py FOLDER [durability] [linger]`.

It writes one JSON line when it is in, or one with "error"; it leaves when its stdin ends. "ping" on stdin makes it
ensure the stack and answer with another line.
"""

import asyncio
import json
import sys
from pathlib import Path

from hotsku.errors import HotSKUError
from hotsku.shard.embedded import EmbeddedFolder
from hotsku.shard.launcher import DurabilityMode
from hotsku.shard.probe import probe

WORKER = Path(__file__).with_name("folder_worker.py")


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def report(folder: EmbeddedFolder) -> None:
    info = await probe(folder.socket, 60)
    say(run_id=info and info.run_id, pid=info and info.pid, socket=str(folder.socket))


async def main(home: Path, durability: DurabilityMode, linger: str) -> None:
    worker = [sys.executable, str(WORKER), str(home), durability, linger]
    async with EmbeddedFolder(home, durability=durability, worker=None if linger == "none" else worker) as folder:
        await report(folder)
        while await asyncio.to_thread(sys.stdin.readline):
            await folder.ensure()
            await report(folder)


if __name__ == "__main__":
    mode: DurabilityMode = "fast" if "fast" in sys.argv[2:3] else "durable"
    try:
        asyncio.run(main(Path(sys.argv[1]), mode, sys.argv[3] if len(sys.argv) > 3 else "0.2"))
    except HotSKUError as error:
        say(error=f"{type(error).__name__}: {error}")

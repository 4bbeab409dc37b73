"""The worker process of an embedded folder: `python -m hotsku.embedded_worker FOLDER`. Its users start it.

It is told the settings in its environment, for they may have passwords; the argument is for whoever looks at processes.
"""

import asyncio
import json
import logging
import os
import signal
import sys

import uvloop

from hotsku.app import WORKER_SETTINGS, run_worker, unwatched
from hotsku.errors import HotSKUError
from hotsku.log import get_logger, log_json
from hotsku.settings import Settings
from hotsku.worker_counts import counts_file, leaving_counts


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    folder = settings.embedded_folder
    watch = unwatched if folder is None else leaving_counts(counts_file(folder))
    await run_worker(settings, stop=stop, watch=watch)


def main() -> None:
    """Work until nobody uses the folder."""
    log_json(logging.INFO)
    # A Ctrl-C in the terminal of the user that started us is not for us: others may use the folder.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        uvloop.run(_main(Settings(**json.loads(os.environ.pop(WORKER_SETTINGS)))))
    except HotSKUError as error:
        get_logger("worker").error("the worker has ended", why=str(error))
        sys.exit(3)


if __name__ == "__main__":
    main()

"""A process that a supervisor keeps: is told in a line of JSON whether it is to be ready, and where to say that it
ended in order, which it does when its stdin is closed."""

import json
import sys
from pathlib import Path

from hotsku.http.process import READY

told = json.loads(sys.stdin.readline())
Path(f"{told['note']}.begun").touch()
if told["ready"]:
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
sys.stdin.read()
Path(told["note"]).write_text("ended in order")

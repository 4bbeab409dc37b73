"""The calls of docs/http.md run as they stand, in their order, and hear what the page says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.documents import page
from tests.support.folder_processes import embedded_folder
from tests.support.gateway import Gateway, running_gateway

_CALLS = re.compile(r"^```sh\n(curl.*?)^```\n\n```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHOWN_AT = "http://127.0.0.1:8000"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent) as running:
        yield running
        assert running.stop().status == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_the_calls_of_the_page(gateway: Gateway) -> None:
    calls = _CALLS.findall(page("docs/http.md"))
    assert len(calls) >= 6
    for commands, shown in calls:
        script = "set -e\n" + commands.replace("\ncurl", "\necho\ncurl").replace(_SHOWN_AT, gateway.url)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == json.loads(shown), commands

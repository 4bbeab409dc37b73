"""The calls of docs/http.md run as they stand, in order, and hear what the page says, in its order. "…" is never the
same."""

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
_DIFFERENT = "…"
_SHOWN_AT = "http://127.0.0.1:8000"


class Shown:
    """What the page shows; a receipt or a time is not shown."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, heard: object) -> bool:
        if self._value == _DIFFERENT:
            return isinstance(heard, str) and heard != ""
        if isinstance(self._value, dict) and isinstance(heard, dict):
            return list(self._value) == list(heard) and all(Shown(self._value[key]) == heard[key] for key in heard)
        if isinstance(self._value, list) and isinstance(heard, list):
            return [Shown(value) for value in self._value] == heard
        return self._value == heard

    def __repr__(self) -> str:
        return repr(self._value)

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent) as running:
        yield running
        assert running.stop().status == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_the_calls_of_the_page(gateway: Gateway) -> None:
    calls = _CALLS.findall(page("docs/http.md"))
    assert len(calls) >= 12
    for commands, shown in calls:
        script = "set -e\n" + commands.replace("\ncurl", "\necho\ncurl").replace(_SHOWN_AT, gateway.url)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == Shown(json.loads(shown)), commands

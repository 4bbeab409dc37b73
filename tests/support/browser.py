"""Chromium without a window, driven over WebDriver (the W3C protocol) through its own `chromedriver`."""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.folder_processes import eventually

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--window-size=1180,900"),
)


def has_browser() -> bool:
    """Whether a browser and its driver are installed."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One window."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = session

    def open(self, url: str) -> None:
        """Go there, and wait until the page is loaded."""
        self._call("url", {"url": url})

    def run(self, script: str) -> object:
        """What a script `return`s in the page."""
        return self._call("execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """The text of the first element that a CSS selector finds; "" where there is none."""
        return str(self.run(f"return document.querySelector({selector!r})?.innerText ?? ''"))

    def type_into(self, selector: str, text: str) -> None:
        """Type, as a person does; a newline sends a form."""
        self._call(f"element/{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click, as a person does."""
        self._call(f"element/{self._find(selector)}/click", {})

    def complaints(self) -> list[str]:
        """What the page's console has said since it was asked last, but for requests that were refused."""
        entries = self._call("se/log", {"type": "browser"})
        assert isinstance(entries, list)
        return [entry["message"] for entry in entries if entry["source"] != "network"]

    def picture(self, file: Path) -> None:
        """Take a screenshot."""
        answer = self._driver.get(f"/session/{self._session}/screenshot").json()
        file.write_bytes(base64.b64decode(answer["value"]))

    def _find(self, selector: str) -> str:
        found = self._call("element", {"using": "css selector", "value": selector})
        assert isinstance(found, dict)
        return str(found[_ELEMENT])

    def _call(self, command: str, body: dict[str, object]) -> object:
        answer = self._driver.post(f"/session/{self._session}/{command}", json=body).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser of one's own, without history, extensions or cookies."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{_port(driver)}", timeout=60, trust_env=False) as client:
                eventually(lambda: client.get("/status").json()["value"]["ready"], "the driver is ready")
                options = {"args": [*_ARGUMENTS]}
                wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
                made = client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
                assert "sessionId" in made, made
                try:
                    yield Browser(client, made["sessionId"])
                finally:
                    client.delete(f"/session/{made['sessionId']}")
        finally:
            driver.terminate()


def _port(driver: "subprocess.Popen[str]") -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rpartition(" ")[2])
    raise AssertionError("the driver did not start")

"""The console's page: whatever it needs is in it, and its policy lets nothing else in."""

import base64
import hashlib
import re

from hotsku.http.console import console_page


def test_the_page_asks_no_other_host_and_keeps_nothing() -> None:
    text = console_page()[0].decode()
    assert not re.search(r"https?://|//[a-z]|@import|src=|srcset=|url\(", text)
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]
    for keeps in ("localStorage", "sessionStorage", "indexedDB", "cookie"):
        assert keeps not in text
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert unsafe not in text
    assert not re.search(r"\son\w+=|\sstyle=", text)  # the policy would refuse them


def test_its_policy_names_exactly_its_own_style_and_script() -> None:
    page, headers = console_page()
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in headers["content-security-policy"]
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}

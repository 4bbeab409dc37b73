"""The web console: one static page, which asks nobody but this server, with the key that its reader types."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources


def console_page() -> tuple[bytes, Mapping[str, str]]:
    """The page, and the headers that go with it: its own style and script may run, and nothing else."""
    page = resources.files("hotsku.http").joinpath("console.html").read_bytes()
    policy = (
        "default-src 'none'",
        f"script-src {_hash_of(page, b'script')}",
        f"style-src {_hash_of(page, b'style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return page, {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(policy),
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _hash_of(page: bytes, tag: bytes) -> str:
    """The source expression of the one inline element of this tag."""
    (text,) = re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"

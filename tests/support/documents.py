"""What the tests of the documentation read: the project's pages, and the blocks of code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / name).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language, in order."""
    return [body for found, body in _BLOCK.findall(text) if found == language]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", text)

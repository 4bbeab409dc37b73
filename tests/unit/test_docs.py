"""The documents name what there is: links, files, names in files, commands and their options."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
from tests.support.documents import PAGES, ROOT, blocks, page, prose
from typer.core import TyperCommand, TyperGroup

from hotsku.cli import main as cli
from hotsku.domain.events import decode_events, decode_message
from hotsku.settings import Settings

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"([\w.{},-]+/)*[\w-]+\.(py|lua|md|toml|yml)")
_PLACE = re.compile(r"([\w/.-]+\.(?:py|lua)):([A-Za-z_][\w.]*)")
_COMMAND = re.compile(r"^(?:\.venv/bin/)?hotsku(?:\s.*)?$")

# Files that a run makes, and what only the reader has.
_NOT_OURS = {"hotsku.toml", "./hotsku.toml"}

_WIDTH = 120
# `hotsku bench --out` writes the tables.
_WRAPPED = [path for path in PAGES if path.name not in ("CHANGELOG.md", "CONTRIBUTING.md", "tables.md")]


def _names(pages: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in pages]


@pytest.mark.parametrize("name", _names(PAGES))
def test_links_lead_to_files_that_are_there(name: str) -> None:
    text, folder = prose(page(name)), (ROOT / name).parent
    for target in _LINK.findall(text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = folder / path if path else ROOT / name
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{name} links to {target}"


@pytest.mark.parametrize("name", _names(PAGES))
def test_named_files_and_names_in_them_are_there(name: str) -> None:
    for code in _CODE.findall(prose(page(name))):
        place = _PLACE.fullmatch(code)
        file = place[1] if place else code
        if not _FILE.fullmatch(file) or file in _NOT_OURS:
            continue
        found = _found(file)
        assert found, f"{name} names {code}"
        if place:
            for part in place[2].split("."):
                assert re.search(rf"\b{part}\b", found.read_text("utf-8")), f"{name} names {code}"


@pytest.mark.parametrize("name", _names(_WRAPPED))
def test_lines_are_not_too_long(name: str) -> None:
    long = [line for line in page(name).splitlines() if len(line) > _WIDTH and not line.startswith(("|", "- ["))]
    assert not long


@pytest.mark.parametrize("name", _names(PAGES))
def test_commands_are_known(name: str) -> None:
    for line in _commands(page(name)):
        names, _ = _resolved(line)
        assert cli.run([*names, "--help"]) == 0, line


def test_every_command_is_in_the_readme() -> None:
    shown = {" ".join(_resolved(line)[0]) for line in _commands(page("README.md"))}
    assert set(_leaves(_root(), [])) <= shown


@pytest.mark.parametrize("command", [[], ["item"], ["order"]])
def test_help_ends_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_every_setting_is_in_the_readme() -> None:
    table = page("README.md")
    for setting in Settings.model_fields:
        assert f"| `{setting}` |" in table, setting


def test_the_messages_page_shows_a_message_that_the_code_takes() -> None:
    shown, *_ = blocks(page("docs/messages.md"), "json")
    message = decode_message(msgspec.json.encode(json.loads(shown)))
    assert [event.seq for event in decode_events(message)] == [118, 119, 120]
    # Every field of the message and of its events is explained.
    explained = set(_CODE.findall(prose(page("docs/messages.md"))))
    document = json.loads(shown)
    assert set(document) | set(document["events"][0]) <= explained


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _found(name: str) -> Path | None:
    """A file by its path from the root or from the package; a bare name is looked for."""
    for base in (ROOT, ROOT / "src", ROOT / "src" / "hotsku", ROOT / "docs"):
        if (base / name).is_file():
            return base / name
    if "/" in name:
        return None
    return next((path for top in ("src", "tests") for path in (ROOT / top).rglob(name)), None)


def _commands(text: str) -> Iterator[str]:
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.split(" #")[0].strip()
            if _COMMAND.match(line):
                yield line
    for code in _CODE.findall(prose(text)):
        if _COMMAND.match(code) and "|" not in code:
            yield code


def _root() -> TyperGroup:
    command = typer.main.get_command(cli.app)
    assert isinstance(command, TyperGroup)
    return command


def _resolved(line: str) -> tuple[list[str], set[str]]:
    """The command that a line calls: its names, and the options that it has. Fails where the line has others."""
    words, names = shlex.split(line)[1:], list[str]()
    group: object = _root()
    while isinstance(group, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in group.commands, f"no command: {line}"
        names.append(words.pop(0))
        group = group.commands[names[-1]]
    assert isinstance(group, TyperGroup | TyperCommand)
    options = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    for word in words:
        assert not word.startswith("--") or word in options, f"no option {word}: {line}"
    return names, options


def _leaves(group: TyperGroup, names: list[str]) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _leaves(command, [*names, name])
        else:
            yield " ".join([*names, name])

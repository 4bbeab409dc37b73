"""Reads an order log: CSV with a header, or JSON lines. Pure but for the file; a bad line is told, never dropped."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import msgspec
from msgspec import Struct

from hotsku.cli.exits import UsageError, one_line
from hotsku.cli.times import RFC_3339, parse_log_ms
from hotsku.domain.identity import check_buyer_id, check_id, check_quantity
from hotsku.errors import InvalidRequest

FIELDS = ("at", "sku", "quantity", "order_id", "buyer_id")
_REQUIRED = ("sku", "order_id")

_DIGITS = re.compile(r"[0-9]{1,18}")
_AT = f"{RFC_3339}, or seconds or milliseconds since the epoch"
_decode_object = msgspec.json.Decoder(dict[str, object]).decode


class LogLine(Struct, frozen=True, gc=False):
    """One order of the log. `at_ms` is None where the log has no time for it."""

    number: int
    at_ms: int | None
    sku: str
    quantity: int
    order_id: str
    buyer_id: str


class BadLine(Struct, frozen=True, gc=False):
    """A line that is no order, and why. `sku` is there where the line has a good one."""

    number: int
    why: str
    sku: str | None = None


def read_log(path: Path) -> Iterator[LogLine | BadLine]:
    """Every line of the log but its header and empty ones, in order.

    Raises:
        UsageError: the file cannot be read, or is neither CSV with a header nor JSON lines.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from read_lines(file, path.name)
    except OSError as error:
        raise UsageError(f"the log {path} cannot be read: {error.strerror}") from None


def read_lines(lines: Iterable[str], name: str) -> Iterator[LogLine | BadLine]:
    """The lines of a log that is called `name`."""
    remaining = iter(lines)
    for number, line in enumerate(remaining, 1):
        if line.strip():
            rest = chain([line], remaining)
            yield from _json_lines(rest, number) if line.lstrip().startswith("{") else _csv_lines(rest, number, name)
            return


def _json_lines(lines: Iterator[str], first: int) -> Iterator[LogLine | BadLine]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            values = _decode_object(line)
        except msgspec.MsgspecError as error:
            yield BadLine(number, f"it is no JSON object: {one_line(str(error))}")
            continue
        yield parse_line(number, values)


def _csv_lines(lines: Iterator[str], first: int, name: str) -> Iterator[LogLine | BadLine]:
    reader = csv.reader(lines)
    header = [column.strip() for column in next(reader)]
    missing = [column for column in _REQUIRED if column not in header]
    if missing or len(set(header)) != len(header):
        raise UsageError(
            f"the log {name} must be JSON lines, or CSV whose header has {', '.join(FIELDS)}; "
            + (f"it lacks {', '.join(missing)}" if missing else "it has a column twice")
        )
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadLine(first + reader.line_num - 1, f"it is no CSV: {error}")
            continue
        if cells is None:
            return
        number = first + reader.line_num - 1
        if not cells:
            continue
        if len(cells) != len(header):
            yield BadLine(number, f"it has {len(cells)} values, the header {len(header)}")
            continue
        yield parse_line(number, {column: _csv_value(column, cell) for column, cell in zip(header, cells, strict=True)})


def _csv_value(column: str, cell: str) -> object:
    """A cell as JSON would have it."""
    if column == "quantity":
        return int(cell) if _DIGITS.fullmatch(cell) else cell
    return cell


def parse_line(number: int, values: Mapping[str, object]) -> LogLine | BadLine:
    """One line's values, checked. Values that no order has are ignored."""
    sku: str | None = None
    try:
        sku = check_id("sku", values.get("sku"))
        return LogLine(
            number=number,
            at_ms=_at_ms(values.get("at")),
            sku=sku,
            quantity=check_quantity(values.get("quantity", 1)),
            order_id=check_id("order_id", values.get("order_id")),
            buyer_id=check_buyer_id(values.get("buyer_id", "")),
        )
    except InvalidRequest as error:
        return BadLine(number, str(error), sku)


def _at_ms(value: object) -> int | None:
    if value is None or value == "":
        return None
    try:
        return parse_log_ms(value)
    except (ValueError, OverflowError):
        raise InvalidRequest("at", f"{_AT}, not {ascii(value)[:80]}") from None

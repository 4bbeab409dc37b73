"""How much of each item there is to sell: `--stock sku=n` and `--stock FILE.csv`."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hotsku.cli.exits import UsageError
from hotsku.domain.identity import check_id, check_quantity
from hotsku.errors import InvalidRequest

_DIGITS = re.compile(r"[0-9]{1,18}")
_ALLOWED = "SKU=UNITS, or a CSV file with the columns sku and stock"


def parse_stock(options: Sequence[str]) -> dict[str, int]:
    """Units by SKU, of all `--stock` options; a later one wins.

    Raises:
        UsageError: one is neither, or its file cannot be read.
    """
    stock: dict[str, int] = {}
    for option in options:
        sku, equals, units = option.rpartition("=")
        if equals and not Path(option).is_file():
            stock[_checked_sku(sku, "--stock")] = _units(units, f"--stock {sku}")
        else:
            stock |= _read_file(Path(option))
    return stock


def _read_file(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse_rows(file, path.name)
    except OSError as error:
        raise UsageError(f"--stock must be {_ALLOWED}; {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"--stock must be {_ALLOWED}; {path}: {error}") from None


def parse_rows(lines: Iterable[str], name: str) -> dict[str, int]:
    """Units by SKU: rows of two values; a first row without a number in its second is the header."""
    stock: dict[str, int] = {}
    columns = (0, 1)
    reader = csv.reader(lines)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not stock and "sku" in cells:
            columns = (cells.index("sku"), _units_column(cells, name))
            continue
        if len(cells) <= max(columns):
            raise UsageError(f"--stock {name}, line {reader.line_num}: it must have a sku and its units")
        place = f"--stock {name}, line {reader.line_num}"
        stock[_checked_sku(cells[columns[0]], place)] = _units(cells[columns[1]], place)
    return stock


def _units_column(header: list[str], name: str) -> int:
    for column in ("stock", "total", "units", "quantity"):
        if column in header:
            return header.index(column)
    raise UsageError(f"--stock {name}: its header must have sku and stock")


def _checked_sku(sku: str, place: str) -> str:
    try:
        return check_id("sku", sku)
    except InvalidRequest as error:
        raise UsageError(f"{place}: {error}") from None


def _units(text: str, place: str) -> int:
    try:
        return check_quantity(int(text) if _DIGITS.fullmatch(text) else text, "stock")
    except InvalidRequest as error:
        raise UsageError(f"{place}: {error}") from None

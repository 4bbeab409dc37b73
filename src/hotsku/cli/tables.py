"""Items and partitions as tables for people."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from hotsku.engine.views import ItemView, PartitionView

_BAR_CELLS = 10
_STATE_STYLES = {
    "open": "green",
    "selling": "green",
    "fenced": "red",
    "unreachable": "red",
    "recovering": "yellow",
    "sold_out": "yellow",
    "paused": "yellow",
    "exhausted": "yellow",
}


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns are text, the others figures."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right", overflow="fold")
    return made


def items_table(items: Iterable[ItemView], title: str = "items") -> Table:
    """One row an item: where its units are."""
    made = table(title, "sku", "state", "stock", "total", "available", "sold", "pool", "pre-allocated", left=3)
    for item in items:
        figures = (item.total, item.available, item.sold, item.pool, item.preallocated)
        made.add_row(item.sku, _state(item.state), bar(item.available, item.total), *(f"{n:,}" for n in figures))
    return made


def partitions_table(partitions: list[PartitionView], title: str) -> Table:
    """The registry: one row a partition, its two buckets (the active one is marked), and how far the ledger is."""
    columns = ("partition", "shard", "state", "bucket A", "bucket B")
    made = table(title, *columns, "left", "taken", "leases", "granted", "applied", "lag", left=len(columns))
    most = max((max(p.left_a, p.left_b) for p in partitions), default=0)
    for p in partitions:
        left_a, left_b = (f"{bar(left, most)} {left:,}{' *' if p.active == name else ''}" for name, left in _buckets(p))
        figures = (p.left_a + p.left_b, p.taken, p.leases, p.granted, p.applied, p.lag)
        made.add_row(str(p.partition), _shard(p.shard), _state(p.state), left_a, left_b, *(f"{n:,}" for n in figures))
    made.caption = "* the bucket that sells; lag: events that the ledger has not applied yet"
    made.caption_justify = "left"
    return made


def show_item(console: Console, item: ItemView) -> None:
    """An item and its figures."""
    made = table(item.sku, "", "", left=1)
    made.show_header = False
    rows: dict[str, object] = {
        "state": item.state,
        "total": f"{item.total:,}",
        "sold": f"{item.sold:,}",
        "held": f"{item.held:,}",
        "pool": f"{item.pool:,}",
        "pre-allocated": f"{item.preallocated:,}",
        "actual (pool + pre-allocated)": f"{item.actual:,}",
        "available now": f"{item.available:,}",
        "quarantined": f"{item.quarantined:,}",
        "partitions": item.partitions,
        "routing": item.routing,
        "limit per buyer": item.limit_per_buyer or "none",
        "opens at": item.opens_at or "already open",
        "closes at": item.closes_at or "never",
    }
    for name, value in rows.items():
        made.add_row(name, str(value))
    console.print(made)


def bar(value: int, most: int, cells: int = _BAR_CELLS) -> str:
    """`value` of `most` as a bar: anything above zero shows, and only all of it is full."""
    full = value * cells // most if most > 0 else 0
    full = max(full, 1) if value > 0 else 0
    return "█" * full + "░" * (cells - full)


def _shard(shard: str) -> str:
    """An embedded server's socket by its name alone: its folder would fill the table."""
    return shard.rpartition("/")[2]


def _buckets(partition: PartitionView) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("a", partition.left_a), ("b", partition.left_b)


def _state(state: str) -> str:
    style = _STATE_STYLES.get(state)
    return f"[{style}]{state}[/]" if style else state

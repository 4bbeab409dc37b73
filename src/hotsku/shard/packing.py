"""What the functions take and give, packed and unpacked for the typed binding."""

from collections.abc import Sequence
from typing import cast

import msgspec

from hotsku.domain.deduction import OrderState
from hotsku.domain.events import StreamEntry
from hotsku.domain.item import Item
from hotsku.domain.order import OrderRecord, format_record
from hotsku.ports import PartitionStatus, Swept
from hotsku.shard.wire import Reply

# As the functions take an item's state.
_STATES = {"open": 0, "paused": 1, "closed": 2}
_ENDED = (OrderState.RELEASED, OrderState.EXPIRED)

_STATUS_FIELDS = frozenset(PartitionStatus.__struct_fields__)


def configuration(item: Item) -> tuple[int, int, int, int, int, int]:
    """An item's configuration: see `read_configuration` of lib.lua."""
    spec = item.spec
    times = (spec.opens_at_ms or 0, spec.closes_at_ms or 0)
    return item.version, spec.limit_per_buyer or 0, *times, _STATES[item.state], int(spec.refund_restores_limit)


def pack_orders(
    orders: Sequence[tuple[str, OrderRecord]], buyers: Sequence[tuple[str, int]]
) -> tuple[bytes, bytes, bytes, bytes]:
    """What hs_load takes: records, buyers' counts, holds with the end of their time, and ended holds with their end."""
    records = [(field, format_record(record).decode()) for field, record in orders]
    holds = [(field, r.expires_at_ms) for field, r in orders if r.state is OrderState.HELD]
    ended = [(field, r.step_at_ms) for field, r in orders if r.state in _ENDED]
    return _pack(records), _pack(buyers), _pack(holds), _pack(ended)


def _pack(pairs: Sequence[tuple[str, object]]) -> bytes:
    return msgspec.msgpack.encode([part for pair in pairs for part in pair])


def read_status(flat: list[Reply]) -> PartitionStatus:
    """The reply of hs_status."""
    raw = {cast(bytes, flat[i]).decode(): flat[i + 1] for i in range(0, len(flat), 2)}
    if not raw:
        return PartitionStatus()
    figures = {name: int(cast("bytes | int", value)) for name, value in raw.items() if name != "active"}
    if figures.pop("stream_incarnation") != figures["incarnation"]:
        figures["stream_seq"] = 0
    sealed, whole = figures.pop("sealed"), figures.pop("whole") == 1
    known = {name: value for name, value in figures.items() if name in _STATUS_FIELDS}
    active = cast(bytes, raw["active"]).decode()
    return PartitionStatus(active=active, sealed=None if sealed < 0 else sealed, whole=whole, **known)


def read_swept(reply: list[Reply]) -> Swept:
    """The reply of hs_expire and hs_release_holds."""
    ended, next_ms, offset = cast("tuple[int, int, int]", reply[1:4])
    return Swept(ended, next_ms, offset, [cast(bytes, field).decode() for field in reply[4:]])


def read_entry(entry_id: bytes, fields: list[bytes]) -> StreamEntry:
    """An entry of a partition's stream."""
    incarnation, last_seq = entry_id.split(b"-")
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return StreamEntry(int(incarnation), int(last_seq), values[b"k"].decode(), int(values[b"t"]), values[b"e"])

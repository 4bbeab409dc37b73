"""One partition as the tests call it: the functions as they are, and all that the shard keeps of it."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import msgspec
import redis

from hotsku.domain.events import Event, PartitionRef, StreamEntry
from hotsku.domain.order import OrderRecord, parse_record
from hotsku.domain.routing import order_field
from hotsku.shard import library
from hotsku.shard.keys import Keys
from tests.support.servers import TestServer

MARK = b" "  # beside orders, buyers and holds: see lib.lua
FAR = 10**14  # a deadline that never comes, in ms
_item_ids = itertools.count(1)

Order = tuple[str, object]  # order field, what: a quantity, or `words`


def order(name: str, quantity: object = 1, buyer: str = "") -> Order:
    return order_field(name, buyer), quantity


def words(quantity: object = 1, metadata: object = "", ttl_ms: object = 0, cart: object = 0) -> list[object]:
    """What comes with an order that is more than a quantity."""
    return [quantity, metadata, ttl_ms, cart]


def hold(name: str, quantity: object = 1, buyer: str = "", *, ttl_ms: object = 10_000, metadata: str = "") -> Order:
    return order_field(name, buyer), words(quantity, metadata, ttl_ms)


def step(verb: str, name: str, argument: object = "", buyer: str = "", cart: object = 0) -> list[object]:
    return [verb, order_field(name, buyer), argument, cart]


def pack(orders: Sequence[Order]) -> bytes:
    return msgspec.msgpack.encode([part for pair in orders for part in pair])


def configured(
    version: object = 1,
    limit: object = 0,
    opens_at: object = 0,
    closes_at: object = 0,
    state: object = 0,
    restores: object = 0,
) -> list[object]:
    """An item's configuration, as the functions take it."""
    return [version, limit, opens_at, closes_at, state, restores]


@contextmanager
def connect(server: TestServer) -> Iterator["redis.Redis"]:
    """A client of the server, with the library loaded where it is absent."""
    client = redis.Redis(unix_socket_path=str(server.socket), socket_timeout=60)
    try:
        if not client.function_list(library=library.NAME):
            client.function_load(library.source())
        yield client
    finally:
        client.close()


class Memory:
    """What a shard keeps of a partition, and as DUMP writes it: two dumps of one hash may differ in their order."""

    def __init__(self, contents: list[object], dumps: dict[str, bytes | None]) -> None:
        self.contents = contents
        self.dumps = dumps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memory) and self.contents == other.contents

    __hash__ = None  # type: ignore[assignment]


class Decided(NamedTuple):
    """A reply of hs_deduct. Of a refusal only `kind` and, of LATE, `now`."""

    kind: str
    seq_before: int = 0
    left_a: int = 0
    left_b: int = 0
    active: str = ""
    refill: bool = False
    taken: int = 0
    now: int = 0
    codes: str = ""
    records: tuple[str, ...] = ()

    @property
    def quantities(self) -> list[tuple[int, int]]:
        """(quantity, seq) of each record."""
        return [(record.quantity, record.seq) for record in self.parsed]

    @property
    def parsed(self) -> list[OrderRecord]:
        return [parse_record(record.encode()) for record in self.records]


class Stepped(NamedTuple):
    """A reply of hs_step. Of a refusal only `kind`."""

    kind: str
    seq_before: int = 0
    events: int = 0
    now: int = 0
    codes: str = ""
    records: tuple[OrderRecord, ...] = ()


def _words(reply: object) -> object:
    if isinstance(reply, list):
        return [_words(part) for part in reply]
    return reply.decode() if isinstance(reply, bytes) else reply


def decided(reply: list[Any]) -> Decided:
    """What hs_deduct said of one partition."""
    match reply:
        case ["OK", seq, left_a, left_b, active, refill, taken, now, codes, *records]:
            return Decided("OK", seq, left_a, left_b, active, refill == 1, taken, now, codes, tuple(records))
        case ["LATE", now]:
            return Decided("LATE", now=now)
        case _:
            return Decided(reply[0])


def stepped(reply: list[Any]) -> Stepped:
    """What hs_step said of one partition."""
    match reply:
        case ["OK", seq, events, now, codes, *records]:
            parsed = tuple(parse_record(record.encode()) for record in records)
            return Stepped("OK", seq, events, now, codes, parsed)
        case _:
            return Stepped(reply[0])


class Partition:
    """Calls name incarnation 1 unless told otherwise, and return the raw reply with its bytes decoded."""

    def __init__(self, client: "redis.Redis", item_id: int | None = None) -> None:
        self.client = client
        self.keys = Keys("hs", "t").partition(PartitionRef(item_id or next(_item_ids), 0))

    @classmethod
    def begun(
        cls,
        client: "redis.Redis",
        *,
        stock: int = 0,
        threshold: int = 1,
        limit: int = 0,
        opens_at: int = 0,
        closes_at: int = 0,
        restores: int = 0,
    ) -> "Partition":
        """A partition that is begun and, with `stock`, has lease 1."""
        made = cls(client)
        assert made.begin(limit=limit, opens_at=opens_at, closes_at=closes_at, restores=restores) == ["OK"]
        if stock:
            assert made.install(1, stock, threshold) == ["OK", 1]
        return made

    @property
    def all_keys(self) -> list[str]:
        return list(self.keys.all())

    def call(self, name: str, keys: Sequence[str], *arguments: object) -> list[Any]:
        return cast("list[Any]", _words(self.client.fcall(name, len(keys), *keys, *arguments)))

    def name_of_memory(self) -> str:
        return cast(bytes, self.client.fcall_ro("hs_memory", 1, self.keys.meta)).decode()

    def begin(self, incarnation: int = 1, *, memory: str | None = None, **configuration: object) -> list[Any]:
        """`memory`: the server's, unless given."""
        memory = self.name_of_memory() if memory is None else memory
        return self.call("hs_begin", self.all_keys, incarnation, *configured(**configuration), memory)

    def configure(self, incarnation: object = 1, **configuration: object) -> list[Any]:
        return self.call("hs_configure", [self.keys.meta], incarnation, *configured(**configuration))

    def arm(self, incarnation: object, seq: object, memory: str | None = None) -> list[Any]:
        """`memory`: the server's, unless given."""
        memory = self.name_of_memory() if memory is None else memory
        return self.call("hs_arm", self.all_keys, incarnation, seq, memory)

    def disarm(self, *, seal: bool = False, incarnation: object = 1) -> list[Any]:
        return self.call("hs_disarm", [self.keys.meta], incarnation, int(seal))

    def end(self, incarnation: object = 1) -> list[Any]:
        return self.call("hs_end", [self.keys.meta], incarnation)

    def renew(
        self, incarnation: object, *, keep: object = -1, memory: str | None = None, **configuration: object
    ) -> list[Any]:
        """`memory`: the server's, unless given."""
        memory = self.name_of_memory() if memory is None else memory
        return self.call("hs_renew", self.all_keys, incarnation, *configured(**configuration), memory, keep)

    def load(
        self,
        incarnation: object,
        orders: dict[str, str] | None = None,
        buyers: dict[str, int] | None = None,
        memory: str | None = None,
        *,
        holds: dict[str, int] | None = None,
        ended: dict[str, int] | None = None,
    ) -> list[Any]:
        memory = self.name_of_memory() if memory is None else memory
        packed = [
            msgspec.msgpack.encode([part for pair in (each or {}).items() for part in pair])
            for each in (orders, buyers, holds, ended)
        ]
        k = self.keys
        return self.call("hs_load", [k.meta, k.orders, k.buyers, k.holds, k.ended], incarnation, memory, *packed)

    def finish(
        self,
        incarnation: object,
        memory: str | None = None,
        *,
        orders: object = 0,
        buyers: object = 0,
        holds: object = 0,
    ) -> list[Any]:
        memory = self.name_of_memory() if memory is None else memory
        return self.call("hs_finish", self.all_keys, incarnation, memory, orders, buyers, holds)

    def install(self, no: object, quantity: object, threshold: object = 1, incarnation: object = 1) -> list[Any]:
        return self.call("hs_install", [self.keys.meta], incarnation, no, quantity, threshold)

    def reclaim(self, no: object, quantity: object, incarnation: object = 1) -> list[Any]:
        return self.call("hs_reclaim", [self.keys.meta, self.keys.stream], incarnation, no, quantity)

    def trim(self, through: object, incarnation: object = 1) -> list[Any]:
        return self.call("hs_trim", [self.keys.meta, self.keys.stream], incarnation, through)

    def deduct(
        self,
        *orders: Order,
        take: bool = True,
        deadline: object = FAR,
        incarnation: object = 1,
        raw: bytes | None = None,
        copied: bool = False,
    ) -> Decided:
        packed = pack(orders) if raw is None else raw
        (reply,) = self.call("hs_deduct", self.all_keys, deadline, int(copied), incarnation, int(take), packed)
        return decided(reply)

    def step(
        self,
        *steps: Sequence[object],
        deadline: object = FAR,
        incarnation: object = 1,
        raw: bytes | None = None,
        copied: bool = False,
    ) -> Stepped:
        packed = msgspec.msgpack.encode(steps) if raw is None else raw
        (reply,) = self.call("hs_step", self.all_keys, deadline, int(copied), incarnation, packed)
        return stepped(reply)

    def expire(self, most: object = 1000, incarnation: object = 1) -> list[Any]:
        return self.call("hs_expire", self.all_keys, incarnation, most)

    def release_holds(self, most: object = 1000, offset: object = 0, incarnation: object = 1) -> list[Any]:
        return self.call("hs_release_holds", self.all_keys, incarnation, most, offset)

    def forget(
        self, before: object = FAR, keep: object = 10**9, most: object = 1000, incarnation: object = 1
    ) -> list[Any]:
        keys = [self.keys.meta, self.keys.orders, self.keys.ended]
        return self.call("hs_forget", keys, incarnation, before, keep, most)

    def order(self, field: str) -> tuple[OrderRecord | None, int]:
        kind, *said = cast("Any", self.client.fcall_ro("hs_order", 2, self.keys.meta, self.keys.orders, field))
        assert kind == b"OK"
        record, now = said
        return record and parse_record(record), now

    def status(self) -> dict[str, Any]:
        flat = self.call("hs_status", self.all_keys)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {name: value if name == "active" else int(value) for name, value in pairs}

    def entries(self) -> list[StreamEntry]:
        """What the stream holds."""
        found = []
        for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", self.client.xrange(self.keys.stream)):
            incarnation, last_seq = (int(part) for part in entry_id.split(b"-"))
            found.append(StreamEntry(incarnation, last_seq, fields[b"k"].decode(), int(fields[b"t"]), fields[b"e"]))
        return found

    def events(self) -> list[Event]:
        return [event for entry in self.entries() for event in entry.events()]

    def records(self) -> dict[str, str]:
        """Order field to record."""
        return self._hash(self.keys.orders)

    def buyers(self) -> dict[str, int]:
        return {buyer: int(units) for buyer, units in self._hash(self.keys.buyers).items()}

    def parsed(self) -> dict[str, OrderRecord]:
        return {field: parse_record(record.encode()) for field, record in self.records().items()}

    def holds(self) -> dict[str, int]:
        """Order field to when it expires."""
        return self._scores(self.keys.holds)

    def ended(self) -> dict[str, int]:
        """Order field to when it ended."""
        return self._scores(self.keys.ended)

    def memory(self) -> Memory:
        """All that the shard keeps of it."""
        dumps = {key: self.client.dump(key) for key in self.all_keys}
        return Memory([self._content(key) for key in self.all_keys], dumps)

    def _content(self, key: str) -> object:
        match self.client.type(key):
            case b"hash":
                return self.client.hgetall(key)
            case b"zset":
                return self.client.zrange(key, 0, -1, withscores=True)
            case b"stream":
                return self.client.xinfo_stream(key, full=True)["last-generated-id"], self.client.xrange(key)
            case kind:
                return kind

    def restore(self, memory: Memory) -> None:
        """Go back in time behind the library's back."""
        for key, dumped in memory.dumps.items():
            self.client.delete(key)
            if dumped is not None:
                self.client.restore(key, 0, dumped)

    def tamper(self, **fields: object) -> None:
        self.client.hset(self.keys.meta, mapping=fields)  # type: ignore[arg-type]

    def _scores(self, key: str) -> dict[str, int]:
        found = cast("list[tuple[bytes, float]]", self.client.zrange(key, 0, -1, withscores=True))
        return {member.decode(): int(score) for member, score in found if member != MARK}

    def _hash(self, key: str) -> dict[str, str]:
        values = cast("dict[bytes, bytes]", self.client.hgetall(key))
        return {name.decode(): value.decode() for name, value in values.items() if name != MARK}

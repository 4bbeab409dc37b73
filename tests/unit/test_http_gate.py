"""Keys, rate limits, slots, heads and counters."""

import asyncio
from pathlib import Path

import pytest
from tests.support.listening import HandClock

from hotsku.engine.batch_path import MAX_BATCH
from hotsku.engine.batch_sizes import BOUNDS, BatchSizes
from hotsku.errors import InvalidSettings, Overloaded
from hotsku.http.answers import encode
from hotsku.http.counters import LATENCY_BOUNDS_MS, Counters, CountersFolder
from hotsku.http.flights import Flights
from hotsku.http.gate import Gate
from hotsku.http.head import RequestIds, read_head
from hotsku.http.keys import Role, load_keys
from hotsku.http.listening import is_loopback, listen
from hotsku.http.rate_limit import RateLimit


def gate(keys: str | None = None, per_s: int = 0) -> Gate:
    return Gate(load_keys(keys), RateLimit(per_s, HandClock()))


def status(one: Gate, headers: dict[str, str], role: Role = Role.SELL, *, changes: bool = True) -> int | None:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    refusal = one.refuses(read_head("10.0.0.1", raw), role, changes=changes)
    return refusal.status if refusal else None


@pytest.mark.parametrize(
    ("key", "read", "sell", "admin"),
    [
        (None, 401, 401, 401),
        ("r", None, 403, 403),
        ("s", None, None, 403),
        ("a", None, None, None),
        ("x", 401, 401, 401),
    ],
)
def test_each_role_may_what_the_lower_ones_may(
    key: str | None, read: int | None, sell: int | None, admin: int | None
) -> None:
    keyed = gate("read:r,sell:s,admin:a")
    for headers in ({"authorization": f"Bearer {key}"}, {"x_api_key": str(key)}) if key else ({},):
        assert [status(keyed, headers, role) for role in Role] == [read, sell, admin]


def test_other_schemes_are_no_key() -> None:
    assert status(gate("sell:s"), {"authorization": "Basic s"}) == 401
    assert status(gate("sell:s"), {"authorization": "bearer s"}) is None


def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("sell:one\nadmin:two:with:colons,read:three\n")
    keys = load_keys(f"@{file}")
    assert [keys.role_of(secret) for secret in (b"one", b"two:with:colons", b"three", b"")] == [
        Role.SELL,
        Role.ADMIN,
        Role.READ,
        None,
    ]
    assert not load_keys(None)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "boss:x", "sell:", "sell", "SELL:x", *(f"sell:boss{bad}x" for bad in (" ", "\t", "\x7f", "\xa0"))],
)
def test_a_file_without_good_keys_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=r"^api_keys \(HOTSKU_API_KEYS\) must be ") as caught:
        load_keys(f"@{file}")
    assert "boss" not in str(caught.value)
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_keys(f"@{tmp_path}/none")


def test_a_key_has_one_role() -> None:
    with pytest.raises(InvalidSettings, match=r"^api_keys \(HOTSKU_API_KEYS\) must be .*two roles"):
        load_keys("sell:boss,admin:boss")
    assert load_keys("sell:boss,sell:boss").role_of(b"boss") is Role.SELL


def test_keys_for_strangers_are_long() -> None:
    load_keys("sell:0123456789abcdef").check_for_strangers("0.0.0.0")  # noqa: S104
    for keys in (None, "sell:0123456789abcdef,read:0123456789abcde"):
        with pytest.raises(InvalidSettings, match=r"^api_keys \(HOTSKU_API_KEYS\) must be .*listen on there") as caught:
            load_keys(keys).check_for_strangers("there")
        assert "0123" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, None),
        ({"sec_fetch_site": "none"}, None),
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, None),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "https://evil.example", "host": "127.0.0.1:8000"}, 403),
        ({"origin": "null", "host": "127.0.0.1:8000"}, 403),
        ({"host": "stock.example"}, None),
        *(
            ({"origin": f"http://{host}", "host": host}, expected)
            for host, expected in (
                ("localhost", None),
                ("LocalHost:8000", None),
                ("127.8.0.1:8000", None),
                ("[::1]:8000", None),
                ("evil.example:8000", 403),
                ("127.0.0.1.evil.example", 403),
                ("localhost.evil.example", 403),
                ("notlocalhost", 403),
                ("10.0.0.1:8000", 403),
                ("[::2]", 403),
                ("", 403),
            )
        ),
        ({"sec_fetch_site": "same-origin", "host": "evil.example:8000"}, 403),
        ({"sec_fetch_site": "none", "host": "evil.example:8000"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing_where_there_are_no_keys(
    headers: dict[str, str], expected: int | None
) -> None:
    assert status(gate(), headers) == expected
    assert status(gate(), headers, changes=False) is None
    assert status(gate("sell:s"), headers | {"x_api_key": "s"}) is None


def test_a_client_has_so_many_requests_a_second() -> None:
    clock = HandClock()
    limit = RateLimit(5, clock)
    assert [limit.allows("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.allows("b")
    clock.at_ms += 400
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    clock.at_ms += 10_000
    assert [limit.allows("a") for _ in range(7)] == [True] * 5 + [False] * 2


def test_wrong_keys_count_against_the_limit() -> None:
    guarded = gate("sell:s", per_s=3)
    assert [status(guarded, {"x_api_key": "x"}) for _ in range(4)] == [401, 401, 401, 429]
    assert status(guarded, {"x_api_key": "s"}) == 429


@pytest.mark.anyio
async def test_slots_are_bounded_and_so_is_the_queue() -> None:
    flights = Flights(2, 1)
    assert flights.try_take()
    assert flights.try_take()
    assert not flights.try_take()
    entered = asyncio.Event()

    async def wait() -> None:
        async with flights.slots():
            entered.set()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert (flights.taken, flights.waiting) == (2, 1)
    with pytest.raises(Overloaded):
        async with flights.slots():
            raise AssertionError("there is no slot")
    flights.give_back()
    await entered.wait()
    await waiting
    assert (flights.taken, flights.waiting) == (1, 0)


@pytest.mark.anyio
async def test_nobody_overtakes_a_large_one_and_who_leaves_gives_way() -> None:
    flights = Flights(4, 10)
    served: list[str] = []

    async def ask(name: str, wanted: int, stay: asyncio.Event) -> None:
        async with flights.slots(wanted):
            served.append(name)
            await stay.wait()

    stay, done = asyncio.Event(), asyncio.Event()
    done.set()
    first = asyncio.create_task(ask("first", 3, stay))
    await asyncio.sleep(0)
    large = asyncio.create_task(ask("large", 1_000, done))  # as many as there are
    small = asyncio.create_task(ask("small", 1, done))
    await asyncio.sleep(0)
    assert served == ["first"]
    assert not flights.try_take()
    large.cancel()
    await asyncio.wait([large])
    stay.set()
    await asyncio.wait([first, small])
    assert served == ["first", "small"]
    assert (flights.taken, flights.waiting) == (0, 0)


def test_request_ids_are_kept_where_they_are_decent() -> None:
    ids = RequestIds("p")
    assert ids.of(read_head("", [(b"x-request-id", b"abc/1")])) == b"abc/1"
    bad = [b"", b"a b", b"x" * 129, b"a\xff", b"a\r"]
    made = [ids.of(read_head("", [(b"x-request-id", given)])) for given in bad]
    assert made == [b"p-%x" % number for number in range(1, 6)]


@pytest.mark.parametrize(
    ("given", "key"),
    [(b"o-1", "o-1"), (b'"o-1"', "o-1"), (b'"', '"'), (b"\xe9", "\N{LATIN SMALL LETTER E WITH ACUTE}")],
)
def test_an_idempotency_key_may_be_quoted(given: bytes, key: str) -> None:
    assert read_head("", [(b"idempotency-key", given)]).idempotency_key == key


def sizes(*batches: int) -> BatchSizes:
    made = BatchSizes()
    for size in batches:
        made.note(size)
    return made


def test_a_batch_is_counted_under_the_first_bound_that_holds_it() -> None:
    counted = sizes(1, 2, 3, 4, 5, 512, 513, MAX_BATCH)
    assert [count for bound, count in zip(BOUNDS, counted.counts, strict=True) if bound in (1, 2, 4, 8)] == [1, 1, 2, 1]
    assert counted.counts[-2:] == [1, 2]
    assert counted.requests == 1 + 2 + 3 + 4 + 5 + 512 + 513 + MAX_BATCH
    assert (counted.take().requests, counted.take(), sum(counted.counts)) == (1_040 + MAX_BATCH, BatchSizes(), 0)


def test_counters_are_added_over_processes_and_never_fall(tmp_path: Path) -> None:
    mine, theirs = Counters(), Counters()
    folders = CountersFolder(tmp_path, 0, mine), CountersFolder(tmp_path, 1, theirs)
    for counters in (mine, theirs):
        counters.route("r").note(201, "accepted", 3.0)
        counters.order("accepted")
        counters.levels["in_flight"] = 2
        counters.add_batches({"orders": sizes(1, 3)})
    folders[1].write()
    theirs.order("accepted")
    total = folders[0].of_all()
    assert total.routes["r"].answered == {(201, "accepted"): 2}
    assert (total.orders, total.levels) == ({"accepted": 2}, {"in_flight": 4})
    assert sum(total.routes["r"].latency.counts) == 2
    assert total.batches == {"orders": sizes(1, 3, 1, 3)}
    # A successor goes on from there, with levels of its own.
    successor = Counters()
    CountersFolder(tmp_path, 1, successor)
    assert encode(successor.orders) == b'{"accepted":1}'
    assert (successor.levels, successor.batches) == ({}, {"orders": sizes(1, 3)})
    (tmp_path / "1.counters").write_bytes(b"half")
    assert folders[0].of_all().orders == {"accepted": 1}


def test_latencies_fall_into_the_first_bound_that_holds_them() -> None:
    route = Counters().route("r")
    for ms in (0.1, LATENCY_BOUNDS_MS[0], LATENCY_BOUNDS_MS[0] + 0.01, 1e9):
        route.note(200, "x", ms)
    assert (route.latency.counts[0], route.latency.counts[1], route.latency.counts[-1]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("0.0.0.0", False), ("", False)],  # noqa: S104
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_a_port_that_others_have_is_refused_also_when_it_is_shared() -> None:
    shared = listen("127.0.0.1", 0, 2)
    port = shared[0].getsockname()[1]
    assert {each.getsockname()[1] for each in shared} == {port}
    for count in (1, 2):
        with pytest.raises(InvalidSettings, match=r"^host and port must be free here: 127\.0\.0\.1:"):
            listen("127.0.0.1", port, count)
    for each in shared:
        each.close()
    with pytest.raises(InvalidSettings, match=r"^host must be a name"):
        listen("no such host", 0, 1)

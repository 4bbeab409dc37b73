"""The client's core without a network: what it believes, when it sends again, and when it gives up."""

import inspect
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hotsku
import hotsku.client
from hotsku import (
    BackendUnavailable,
    Deduction,
    HotSKUError,
    IdempotencyConflict,
    InvalidRequest,
    Order,
    Outcome,
    OutcomeUnknown,
    Overloaded,
    UnknownItem,
)
from hotsku.client.answers import fault_of
from hotsku.client.operations import Operations
from hotsku.client.patience import Terms
from hotsku.client.wire import Broken, Heard, Operation, Pause, Reply, Request, Send

BUDGET_S, ATTEMPT_S, SETTLE_S = 30.0, 12.0, 10.0


class World:
    """Answers one request after the other, each after some time, in a time of its own."""

    def __init__(self, told: Sequence[tuple[Heard, float]], draw: float = 0.5) -> None:
        self.now_s = 1000.0
        self.told = list(told)
        self.sent: list[tuple[float, Request]] = []
        self.heard: list[tuple[float, Heard]] = []
        self.pauses: list[float] = []
        terms = Terms(
            budget_s=BUDGET_S,
            attempt_s=ATTEMPT_S,
            settle_s=SETTLE_S,
            now_s=lambda: self.now_s,
            now=lambda: datetime.fromtimestamp(self.now_s, UTC),
            draw=lambda: draw,
            mint_id=lambda: f"minted-{len(self.sent)}",
        )
        self.operations = Operations(terms)

    def carry_out(self, operation: Operation[Any]) -> Any:
        """What the operation returns; the last answer is repeated for ever."""
        heard: Heard = None
        while True:
            try:
                act = operation.send(heard)
            except StopIteration as ended:
                return ended.value
            heard = self._do(act)

    def _do(self, act: Send | Pause) -> Heard:
        if isinstance(act, Pause):
            self.pauses.append(act.seconds)
            self.now_s += act.seconds
            return None
        self.sent.append((self.now_s, act.request))
        heard, took_s = self.told[min(len(self.sent), len(self.told)) - 1]
        if took_s > act.timeout_s:
            heard, took_s = Broken("no answer in time", sent=True), act.timeout_s
        self.now_s += took_s
        self.heard.append((self.now_s, heard))
        return heard


def problem(status: int, kind: str, retry_after: str | None = None, **more: object) -> Reply:
    body = {"type": f"urn:hotsku:problem:{kind}", "status": status, "detail": "why", **more}
    return Reply(status, json.dumps(body).encode(), retry_after)


def order(status: int = 201, outcome: str = "accepted", **more: object) -> Reply:
    return Reply(status, json.dumps({"outcome": outcome, "replayed": status == 200, **more}).encode())


YES, NO = order(), problem(409, "sold_out", outcome="sold_out", available=0)
PENDING = Reply(202, b'{"outcome": "pending"}', "1")
CUT, AWAY = Broken("cut", sent=True), Broken("refused", sent=False)
OVERLOADED = problem(503, "overloaded", "1")
UNAVAILABLE = problem(503, "unavailable", "1")
STOPPING = problem(503, "stopping", "1")
LIMITED = problem(429, "rate_limited", "2")
BUG = problem(500, "internal")
PAGE = Reply(200, b"<html>")
STRANGE = order(201, "sold on the moon")
PROXY = Reply(503, b"<html>", "1")

_UNKNOWN = (PENDING, CUT, BUG, PAGE, STRANGE, PROXY, STOPPING)
_NOTHING_DONE = (AWAY, OVERLOADED, UNAVAILABLE, LIMITED)


@pytest.mark.parametrize("heard", _UNKNOWN)
def test_what_leaves_it_unknown(heard: Heard) -> None:
    with pytest.raises(OutcomeUnknown, match=r"'o-1' of 'sku'.*same again"):
        sell(World([(heard, 0.1)]))


@pytest.mark.parametrize("heard", _NOTHING_DONE)
def test_what_says_that_nothing_was_done(heard: Heard) -> None:
    kind = Overloaded if heard in (OVERLOADED, LIMITED) else BackendUnavailable
    with pytest.raises(kind):
        sell(World([(heard, 0.1)]))
    with pytest.raises(OutcomeUnknown):  # but an attempt before it may have been
        sell(World([(CUT, 0.1), (heard, 0.1)]))


def sell(world: World) -> Deduction:
    deduction: Deduction = world.carry_out(world.operations.deduct("sku", 1, order_id="o-1"))
    return deduction


_ANSWERS = st.sampled_from([YES, order(200), NO, *_UNKNOWN, *_NOTHING_DONE])
_TIMES = st.floats(0, 15)


@given(st.lists(st.tuples(_ANSWERS, _TIMES), min_size=1, max_size=12), st.floats(0, 1))
def test_what_is_told_is_true(told: list[tuple[Heard, float]], draw: float) -> None:
    """A yes at once; a no where no lost attempt may still sell; that nothing was done where nothing was lost."""
    world = World(told, draw)
    result: Deduction | HotSKUError
    try:
        result = sell(world)
    except HotSKUError as error:
        result = error
    last_s, last = world.heard[-1]
    lost_s = [at_s for at_s, heard in world.heard if is_unknown(heard)]
    if isinstance(result, Deduction) and result.outcome is Outcome.ACCEPTED:
        assert last in (YES, order(200))
    elif isinstance(result, Deduction):
        assert last == NO
        assert all(at_s + SETTLE_S <= last_s for at_s in lost_s)
    else:
        assert isinstance(result, OutcomeUnknown) == bool(lost_s), result
    assert all(heard not in (YES, order(200)) for _, heard in world.heard[:-1])
    assert world.now_s <= 1000 + BUDGET_S + 0.01, "the time is kept"
    assert len({repr(request) for _, request in world.sent}) == 1, "the same order each time"


def is_unknown(heard: Heard) -> bool:
    return heard in _UNKNOWN or (isinstance(heard, Broken) and heard.sent)


@given(st.floats(0, 1))
def test_pauses_grow_and_wait_as_long_as_they_are_asked(draw: float) -> None:
    world = World([(AWAY, 0)] * 4 + [(YES, 0)], draw)
    sell(world)
    assert world.pauses == sorted(world.pauses)
    assert all(0.5 * base <= pause <= base for pause, base in zip(world.pauses, (0.05, 0.1, 0.2, 0.4), strict=True))
    asked = World([(LIMITED, 0), (LIMITED, 0), (YES, 0)], draw)
    sell(asked)
    assert all(2 < pause <= 2.1 for pause in asked.pauses)


@pytest.mark.parametrize("retry_after", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", "", "9" * 30, "²"])
def test_a_strange_retry_after_is_none(retry_after: str) -> None:
    world = World([(problem(503, "overloaded", retry_after), 0), (YES, 0)])
    sell(world)
    assert sum(world.pauses) < 1


def test_a_no_is_not_asked_again_without_need() -> None:
    world = World([(OVERLOADED, 0), (NO, 0)])
    assert sell(world).outcome is Outcome.SOLD_OUT
    assert len(world.sent) == 2
    ended = World([(CUT, 0), (problem(409, "expired", outcome="expired", state="expired"), 0)])
    assert ended.carry_out(ended.operations.confirm("sku", order_id="o-1")).outcome is Outcome.EXPIRED
    assert len(ended.sent) == 2, "what an order has become stays so"


def test_what_changes_nothing_is_never_unknown() -> None:
    world = World([(CUT, 0.1)])
    with pytest.raises(BackendUnavailable):
        world.carry_out(world.operations.item("sku"))


@pytest.mark.parametrize(("order_id", "quoted"), [(".", "%2E"), ("..", "%2E%2E"), ("a.b", "a.b"), ("a:b@c", "a:b@c")])
def test_an_id_is_no_step_in_a_path(order_id: str, quoted: str) -> None:
    asked = next(World([]).operations.release("a", order_id=order_id))
    assert isinstance(asked, Send)
    assert asked.request.path == f"/v1/items/a/orders/{quoted}/release"


def test_an_id_is_minted_once() -> None:
    world = World([(CUT, 0), (CUT, 0), (order(200, order_id="minted-0"), 0)])
    assert world.carry_out(world.operations.deduct("sku")).order_id == "minted-0"
    assert {json.loads(request.body or b"")["order_id"] for _, request in world.sent} == {"minted-0"}


@given(
    st.lists(
        st.lists(st.sampled_from(["accepted", "sold_out", "pending", "overloaded", "lost"]), min_size=3, max_size=3)
    )
)
def test_each_order_of_many_has_its_own_doubt(rounds: list[list[str]]) -> None:
    """Each order's answers, round by round; in the end the gateway accepts everything."""
    script = {f"o-{n}": [each[n] for each in rounds] for n in range(3)}
    asked: dict[str, list[str]] = {order_id: [] for order_id in script}

    class Batches(World):
        def _do(self, act: Send | Pause) -> Heard:
            if isinstance(act, Pause):
                return super()._do(act)
            orders = [each["order_id"] for each in json.loads(act.request.body or b"")["orders"]]
            said = [(script[order_id] or ["accepted"])[0] for order_id in orders]
            for order_id, outcome in zip(orders, said, strict=True):
                asked[order_id].append("lost" if "lost" in said else outcome)
                script[order_id] = script[order_id][1:]
            answers = [{"order_id": o, "outcome": outcome} for o, outcome in zip(orders, said, strict=True)]
            self.told = [(CUT if "lost" in said else Reply(200, json.dumps({"answers": answers}).encode()), 0.0)]
            return super()._do(act)

    world = Batches([(YES, 0)])
    answers = world.carry_out(world.operations.deduct_many("sku", [Order(order_id) for order_id in script]))
    for order_id, answer in zip(asked, answers, strict=True):
        heard = asked[order_id]
        if isinstance(answer, Deduction):
            assert (answer.order_id, answer.outcome.value) == (order_id, heard[-1])
            in_doubt = any(each in ("lost", "pending") for each in heard)
            assert answer.outcome is Outcome.ACCEPTED or not in_doubt or world.now_s >= 1000 + SETTLE_S
            assert "accepted" not in heard[:-1], "what is decided is not sent again"
        else:
            assert isinstance(answer, OutcomeUnknown)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (
            problem(400, "invalid_request", field="quantity", detail="quantity must be 1"),
            InvalidRequest("quantity", "1"),
        ),
        (problem(401, "unauthorized", field="authorization"), InvalidRequest("api_key", "one that may do this: why")),
        (problem(403, "forbidden"), InvalidRequest("api_key", "one that may do this: why")),
        (
            problem(404, "not_found", field="path"),
            InvalidRequest("url", "that of a HotSKU gateway which has this route"),
        ),
        (problem(404, "unknown_item", detail="no item has the sku 'x'; create it"), UnknownItem("x")),
        (problem(409, "conflict"), IdempotencyConflict("why", "sku")),
        (problem(413, "too_large", field="body", detail="body must be small"), InvalidRequest("body", "small")),
        (problem(422, "idempotency_conflict", field="quantity"), IdempotencyConflict("why", "quantity")),
    ],
)
def test_faults(reply: Reply, wanted: HotSKUError) -> None:
    fault = fault_of(reply)
    assert (type(fault), str(fault), vars(fault)) == (type(wanted), str(wanted), vars(wanted))
    with pytest.raises(type(wanted)):
        sell(World([(reply, 0)]))


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "//host"])
def test_a_url_that_is_none(url: str) -> None:
    for kind in (hotsku.client.Client, hotsku.client.BlockingClient):
        with pytest.raises(InvalidRequest, match="url must be http"):
            kind(url)


@pytest.mark.parametrize("name", ["budget_s", "attempt_s", "settle_s"])
def test_times_that_are_none(name: str) -> None:
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRequest, match=name):
            hotsku.client.Client("http://host", **{name: value})  # type: ignore[arg-type]


# --- the twins have what the inventory has ---

_WITH_AN_ENGINE_ALONE = {"close", "offer", "offer_step", "put_on_sale", "take_batch_sizes"}


def _public(kind: type) -> dict[str, Callable[..., object]]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: member for name, member in found if not name.startswith("_")}


def test_the_operations_are_the_inventorys_methods() -> None:
    inventory, operations = _public(hotsku.Inventory), _public(Operations)
    assert operations.keys() == inventory.keys() - _WITH_AN_ENGINE_ALONE
    for name, operation in operations.items():
        wanted = inspect.signature(inventory[name]).parameters
        assert list(inspect.signature(operation).parameters.values()) == list(wanted.values()), name


@pytest.mark.parametrize("kind", [hotsku.client.Client, hotsku.client.BlockingClient])
def test_both_clients_have_every_operation(kind: type) -> None:
    assert _public(kind).keys() - {"close", "carry_out"} == _public(Operations).keys()

"""Bodies: closed schemas, no guesses, and every refusal names the field."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from hotsku.errors import InvalidRequest
from hotsku.http.bodies import (
    BATCH,
    BEGIN_PAYMENT,
    CART,
    CONFIRM,
    DEDUCTION,
    EMPTY,
    EXTEND,
    ITEM,
    MAX_BATCH,
    REFUND,
    RELEASE,
    RESERVATION,
    RESTOCK,
    read_item,
)
from hotsku.http.strict_json import Body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"order_id": "o", "quantity": 1.0}', "quantity"),
        ('{"order_id": "o", "quantity": 1e3}', "quantity"),
        ('{"order_id": "o", "quantity": true}', "quantity"),
        ('{"order_id": "o", "quantity": "1"}', "quantity"),
        ('{"order_id": "o", "quantity": null}', "quantity"),
        ('{"order_id": "o", "quantity": 0}', "quantity"),
        ('{"order_id": "o", "quantity": -1}', "quantity"),
        ('{"order_id": "o", "quantity": 1000000001}', "quantity"),
        ('{"order_id": "o", "quantity": 99999999999999999999999}', "quantity"),
        ('{"order_id": "o", "quantity": 1e999}', "quantity"),
        ('{"order_id": "o", "quantity": 1, "quantity": 1}', "quantity"),
        ('{"order_id": "o", "order_id": "p"}', "order_id"),
        ('{"order_id": "o", "order\\u005fid": "p"}', "order_id"),
        ('{"order_id": 1}', "order_id"),
        ('{"order_id": null}', "order_id"),
        ('{"order_id": ["o"]}', "order_id"),
        ('{"order_id": "o", "buyer_id": 7}', "buyer_id"),
        ('{"order_id": "o", "price": 1}', "price"),
        ('{"order_id": "o", "quantity": 01}', "body"),
        ('{"order_id": "o"} {}', "body"),
        ('{"order_id": "o",}', "body"),
        ("{'order_id': 'o'}", "body"),
        ('{"quantity": NaN}', "body"),
        ("[]", "body"),
        ("null", "body"),
        ("", "body"),
        (b'{"order_id": "\xff"}', "body"),
        (b"\xef\xbb\xbf{}", "body"),
        ('{"order_id": "\\ud800"}', "body"),
        ("[" * 100_000, "body"),
        ('{"a":' * 100_000, "a"),
    ],
)
def test_what_is_refused_and_which_field_is_named(body: str | bytes, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DEDUCTION.read(body if isinstance(body, bytes) else body.encode())
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", "orders"),
        ('{"orders": []}', "orders"),
        ('{"orders": [{}]}', "orders[0].order_id"),
        ('{"orders": [{"order_id": "o"}, {"order_id": "p", "quantity": 1.0}]}', "orders[1].quantity"),
        ('{"orders": [{"order_id": "o", "metadata": 1}]}', "orders[0].metadata"),
        ('{"orders": [{"order_id": "o", "ttl_s": 1}]}', "orders[0].ttl_s"),
        ('{"orders": [{"order_id": "o", "order_id": "o"}]}', "orders[0].order_id"),
        ('{"orders": [{"order_id": "o"}], "orders": [{"order_id": "o"}]}', "orders"),
        ('{"orders": [{"order_id": "o"}], "sku": "a"}', "sku"),
        ('{"orders": {"order_id": "o"}}', "orders"),
        (json.dumps({"orders": [{"order_id": f"o-{n}"} for n in range(MAX_BATCH + 1)]}), "orders"),
    ],
)
def test_what_is_refused_in_a_batch(body: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        BATCH.read(body.encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"total": 1.0}, "total"),
        ({"partitions": 0}, "partitions"),
        ({"opens_at": "2026-01-01T00:00:00"}, "opens_at"),
        ({"closes_at": "soon"}, "closes_at"),
        ({"hold_ttl": 900}, "hold_ttl"),
        ({"routing": "any"}, "routing"),
        ({"refund_restores_limit": 1}, "refund_restores_limit"),
        ({"price": 1}, "price"),
    ],
)
def test_what_is_refused_of_an_item(more: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ITEM.read(json.dumps({"sku": "a", "total": 1} | more).encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "values", "what"),
    [
        ("hold_ttl", ("PT0S", "-PT1S", "P4Y", "P2000D", 900), "an ISO 8601 duration"),
        ("opens_at", ("1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "2026-01-01"), "an RFC 3339 time"),
        ("closes_at", ("1969-01-01T00:00:00Z", "9999-12-31T23:00:00-12:00", 1), "an RFC 3339 time"),
    ],
)
def test_times_of_an_item_are_refused_in_the_words_of_the_page(
    field: str, values: tuple[object, ...], what: str
) -> None:
    for value in values:
        with pytest.raises(InvalidRequest) as caught:
            read_item(json.dumps({"sku": "a", "total": 1, field: value}).encode())
        assert caught.value.field == field
        assert caught.value.allowed.startswith(what)
        assert "datetime" not in str(caught.value)
        assert "timedelta" not in str(caught.value)
    assert read_item(b'{"sku": "a", "total": 1, "hold_ttl": "PT5M"}').hold_ttl == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (DEDUCTION, '{"order_id": "o", "ttl_s": 1}', "ttl_s"),
        (DEDUCTION, '{"order_id": "o", "metadata": 1}', "metadata"),
        (DEDUCTION, '{"order_id": "o", "metadata": "%s"}' % ("x" * 257), "metadata"),
        (RESERVATION, '{"order_id": "o", "ttl_s": 0}', "ttl_s"),
        (RESERVATION, '{"order_id": "o", "ttl_s": 1.0}', "ttl_s"),
        (RESERVATION, '{"order_id": "o", "ttl_s": 100000000}', "ttl_s"),
        (RESERVATION, '{"order_id": "o", "ttl_s": "PT1M"}', "ttl_s"),
        (CONFIRM, '{"payment_ref": 7}', "payment_ref"),
        (CONFIRM, '{"payment_ref": "p", "payment_ref": "q"}', "payment_ref"),
        (CONFIRM, '{"order_id": "o"}', "order_id"),
        (RELEASE, '{"payment_ref": "p"}', "payment_ref"),
        (RELEASE, "[]", "body"),
        (BEGIN_PAYMENT, '{"ttl_s": true}', "ttl_s"),
        (EXTEND, "{}", "ttl_s"),
        (EXTEND, "", "body"),
        (EXTEND, '{"ttl_s": null}', "ttl_s"),
        (REFUND, '{"quantity": 0}', "quantity"),
        (REFUND, '{"quantity": 1, "units": 1}', "units"),
        (CART, '{"order_id": "o"}', "lines"),
        (CART, '{"order_id": "o", "lines": []}', "lines"),
        (CART, '{"order_id": "o", "lines": [{"sku": "a", "quantity": 1.0}]}', "lines[0].quantity"),
        (CART, '{"order_id": "o", "lines": [{"sku": "a", "price": 1}]}', "lines[0].price"),
        (CART, '{"order_id": "o", "lines": [{"quantity": 1}]}', "lines[0].sku"),
        (RESTOCK, '{"quantity": 1}', "adjustment_id"),
        (RESTOCK, '{"adjustment_id": "a", "quantity": 1000000001}', "quantity"),
        (EMPTY, '{"reason": "late"}', "reason"),
        (EMPTY, "null", "body"),
    ],
)
def test_what_is_refused_of_the_other_bodies(kind: Body[Struct], body: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kind.read(body.encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (
            CART,
            '{"order_id": "o", "lines": [{"sku": "a", "q": 1}]}',
            "lines[0].q must be left out: allowed are sku, quantity",
        ),
        (CART, '{"lines": [{"sku": "a"}], "quantity": 1}', "allowed are order_id, lines, buyer_id, metadata, ttl_s"),
        (CART, '{"order_id": "o", "lines": ["a"]}', "lines[0] must be one JSON object with sku, quantity"),
        (BATCH, '{"orders": [{"order_id": "o"}], "buyer_id": "b"}', "buyer_id must be left out: allowed are orders"),
        (BATCH, '{"orders": [{"sku": "a"}]}', "allowed are order_id, quantity, buyer_id, metadata"),
        (EXTEND, "[]", "body must be one JSON object with ttl_s, buyer_id"),
        (EMPTY, '{"why": 1}', "why must be left out: the body has no fields"),
        (EMPTY, "[]", "body must be one JSON object with no fields"),
    ],
)
def test_what_is_said_to_be_allowed_is(kind: Body[Struct], body: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kind.read(body.encode())
    assert str(caught.value).endswith(why)


@pytest.mark.parametrize("kind", [CONFIRM, RELEASE, BEGIN_PAYMENT, REFUND, EMPTY])
def test_a_body_of_which_nothing_is_needed_may_be_left_out(kind: Body[Struct]) -> None:
    assert kind.read(b"") == kind.read(b"{}")


def test_what_a_field_may_hold_though_it_looks_like_a_key() -> None:
    assert DEDUCTION.read(b'{"order_id": "order_id", "buyer_id": "quantity"}').order_id == "order_id"


_NAMES = st.sampled_from(["order_id", "quantity", "buyer_id", "order\\u005fid", "price"])
_VALUES = st.sampled_from(['"o"', '"order_id"', "1", "2", "1.0", '"a\\"b"', "true"])


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=4))
def test_it_takes_exactly_what_has_each_key_once(pairs: list[tuple[str, str]]) -> None:
    """Beside the standard library's reader, which tells every pair."""
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"
    seen: list[tuple[str, object]] = json.loads(body, object_pairs_hook=list)
    names = [name for name, _ in seen]
    good = {"order_id": str, "quantity": int, "buyer_id": str}
    fits = all(name in good and type(value) is good[name] for name, value in seen) and len(set(names)) == len(names)
    try:
        read = DEDUCTION.read(body.encode())
    except InvalidRequest:
        assert not fits
    else:
        assert fits
        assert all(getattr(read, name) == value for name, value in seen)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"order_id": "o", "lines": [{"sku": "a", "sku": "b"}]}', "lines[0].sku"),
        ('{"lines": [{"sku": "a"}, {"sku": "b", "quantity": 1, "quantity": 2}], "order_id": "o"}', "lines[1].quantity"),
        ('{"order_id": "o", "lines": [{"sku": "a"}], "order_id": "o"}', "order_id"),
        ('{"order_id": "o", "lines": [{"sku": "a"}], "lines": [{"sku": "a", "s\\u006bu": "b"}]}', "lines"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_place(body: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match="there once") as caught:
        CART.read(body.encode())
    assert caught.value.field == field

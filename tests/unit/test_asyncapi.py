"""docs/asyncapi.yaml says what the code publishes, and where."""

import json
from typing import Any, cast

import jsonschema_rs
import msgspec
import pytest
import yaml
from tests.support.documents import page
from tests.support.ledger import given_back, sale, sales

from hotsku.broker.topic import Topic
from hotsku.domain.events import MESSAGE_VERSION, Event, EventKind, Message, PartitionRef, encode_message
from hotsku.domain.relaying import MAX_EVENTS

_DOCUMENT = cast(dict[str, Any], yaml.safe_load(page("docs/asyncapi.yaml")))
_SCHEMAS = _DOCUMENT["components"]["schemas"]
_REF = PartitionRef(7, 5)
_TOPIC = Topic("hs", "3f9c1a7be2")


def _validator() -> jsonschema_rs.Validator:
    schema = {"$ref": "#/components/schemas/message", "components": {"schemas": _SCHEMAS}}
    return jsonschema_rs.validator_for(schema)


def _message(*events: Event) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(encode_message("3f9c1a7be2", "sneaker-42", _REF, 1, list(events))))


@pytest.mark.parametrize(
    "events",
    [
        sales(1, 3),
        [sale(118, buyer_id="u-7", quantity=10**9), given_back(119, 40)],
        sales(1, MAX_EVENTS),
        [
            Event(
                seq=seq,
                kind=kind,
                quantity=1,
                at=9,
                order_id="o",
                expires_at=9,
                payment_ref="p",
                metadata="m",
                cart=True,
            )
            for seq, kind in enumerate(EventKind, 1)
        ],
    ],
    ids=["sales", "a return", "as many as there may be", "every kind with every field"],
)
def test_real_messages_are_valid(events: list[Event]) -> None:
    _validator().validate(_message(*events))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"crc32": -1},
        {"partition": "5"},
        {"events": []},
        {"events": [{"seq": 1}]},
        {"item_id": None},
    ],
    ids=str,
)
def test_others_are_not(change: dict[str, object]) -> None:
    assert not _validator().is_valid(_message(*sales(1, 3)) | change)


def test_every_field_is_there_and_no_other() -> None:
    for name, kind in (("message", Message), ("event", Event)):
        fields = {field.name for field in msgspec.structs.fields(kind)}
        assert set(_SCHEMAS[name]["properties"]) == fields
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        assert set(_SCHEMAS[name]["required"]) == required
    defaults = {field.name: field.default for field in msgspec.structs.fields(Event) if not field.required}
    assert {name: _SCHEMAS["event"]["properties"][name]["default"] for name in defaults} == defaults
    assert _SCHEMAS["event"]["properties"]["kind"]["examples"] == [kind.value for kind in EventKind]
    assert _DOCUMENT["info"]["version"].startswith(f"{MESSAGE_VERSION}.")


def test_it_is_asyncapi_3() -> None:
    assert _DOCUMENT["asyncapi"] == "3.0.0"
    for channel in _DOCUMENT["channels"].values():
        assert channel["messages"]["events"] == {"$ref": "#/components/messages/events"}
        for name in channel["parameters"]:
            assert f"{{{name}}}" in channel["address"]


def test_addresses_are_those_of_the_code() -> None:
    values = {
        "namespace": "hs",
        "ledger_id": "3f9c1a7be2",
        "slice": _TOPIC.slice_of(_REF),
        "item_id": _REF.item_id,
        "partition": _REF.partition,
    }
    channels = _DOCUMENT["channels"]
    assert channels["rabbitmq"]["address"].format(**values) == _TOPIC.key(_REF)
    assert channels["nats"]["address"].format(**values) == f"{_TOPIC.name}.{_TOPIC.key(_REF)}"
    assert channels["kafka"]["address"].format(**values) == _TOPIC.name
    assert channels["rabbitmq"]["bindings"]["amqp"]["exchange"]["name"] == _TOPIC.name

"""JSON bodies with closed schemas: what is not asked for is refused by name, and nothing is guessed.

msgspec refuses unknown fields, 1.0, 1e3, true and "1" for an integer. It takes the last of two equal keys, as most
libraries do; two programs on the way may take different ones, so they are refused here.
"""

import json
import re
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from hotsku.errors import InvalidRequest

T = TypeVar("T", bound=Struct)

_PLACE = re.compile(r" - at `\$(.*?)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)


class Body(Generic[T]):
    """Reads one kind of body."""

    def __init__(
        self, kind: type[T], allowed: Mapping[str, str], *, nested: type[Struct] | None = None, optional: bool = False
    ) -> None:
        """
        Args:
            kind: a struct that forbids unknown fields.
            allowed: for each field's name, words that complete "<field> must be ...".
            nested: what the objects in it are, where there are any: they are all in one list.
            optional: it may be left out; that is the same as `{}`.
        """
        self.kind = kind
        self.optional = optional
        self._decode = msgspec.json.Decoder(kind).decode
        self.allowed = allowed
        self._nested = nested
        self._keys = [f'"{name}"'.encode() for name in kind.__struct_encode_fields__]

    def read(self, body: bytes) -> T:
        """The body as a struct.

        Raises:
            InvalidRequest: names the field that is wrong.
        """
        if not body and self.optional:
            body = b"{}"
        try:
            value = self._decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidRequest("body", "one JSON object, in UTF-8") from None
        self._refuse_doubled_keys(body)
        return value

    def _refuse_doubled_keys(self, body: bytes) -> None:
        # A second reading costs more than the first, and a flat body needs it only where a key occurs twice in it (as a
        # key, or as a value), or may be written with an escape.
        if self._nested is None and b"\\" not in body and not self._has_twice(body):
            return
        doubled: list[str | None] = []  # of each object, in the order of their ends

        def note(pairs: list[tuple[str, object]]) -> dict[str, object]:
            doubled.append(_doubled_key(pairs))
            return dict(pairs)

        whole = json.loads(body, object_pairs_hook=note)
        *inner, outer = doubled
        if outer is not None:
            raise InvalidRequest(_shown(outer), "there once")
        for index, key in enumerate(inner):
            if key is not None:
                place = next(name for name, value in whole.items() if isinstance(value, list))
                raise InvalidRequest(f"{place}[{index}].{_shown(key)}", "there once")

    def _has_twice(self, body: bytes) -> bool:
        for key in self._keys:  # noqa: SIM110  # every order passes here, and a loop costs less than a generator
            if body.count(key) > 1:
                return True
        return False

    def _explained(self, message: str) -> InvalidRequest:
        found = _PLACE.search(message)
        place = found[1].lstrip(".") if found else ""
        message = message[: found.start()] if found else message
        if unknown := _UNKNOWN.match(message):
            names = self._names(place)
            why = f"left out: allowed are {names}" if names else "left out: the body has no fields"
            return InvalidRequest(_joined(place, _shown(unknown[1])), why)
        if missing := _MISSING.match(message):
            return InvalidRequest(
                _joined(place, missing[1]), f"given: {self.allowed.get(missing[1], 'it is required')}"
            )
        name = place.rpartition(".")[2]
        if name in self.allowed:
            return InvalidRequest(place, self.allowed[name])
        return InvalidRequest(place or "body", f"one JSON object with {self._names(place) or 'no fields'}")

    def _names(self, place: str) -> str:
        """The fields of the object there."""
        kind = self._nested if place and self._nested else self.kind
        return ", ".join(kind.__struct_encode_fields__)


def _doubled_key(pairs: list[tuple[str, object]]) -> str | None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(name: str) -> str:
    text = ascii(name)[1:-1]
    return text if len(text) <= 64 else f"{text[:61]}..."

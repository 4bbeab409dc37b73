"""API keys: who may do what."""

import hmac
from enum import IntEnum

from msgspec import Struct

from hotsku.errors import InvalidSettings
from hotsku.secret_lists import read_secrets
from hotsku.settings_values import ALLOWED

_ALLOWED = ALLOWED["api_keys"]
# The methods of requests that change nothing.
READING = frozenset({"GET", "HEAD"})


class Role(IntEnum):
    """What a key allows; each also allows what the ones before it do."""

    READ = 1
    SELL = 2
    ADMIN = 3


class Key(Struct, frozen=True):
    """One key."""

    role: Role
    secret: bytes


class Keys:
    """The keys that a gateway accepts. Without any, everybody may do everything: only on loopback."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def role_of(self, secret: bytes) -> Role | None:
        """What the key allows; None where there is no such key. It takes as long whichever it is, and if it is none."""
        found: Role | None = None
        for key in self._keys:
            if hmac.compare_digest(key.secret, secret):
                found = key.role if found is None else max(found, key.role)
        return found


def load_keys(setting: str | None) -> Keys:
    """The keys of the setting `api_keys`: `ROLE:SECRET[,ROLE:SECRET...]`, or `@FILE` with the same, or one a line.

    Raises:
        InvalidSettings: the file cannot be read, or does not have keys.
    """
    if setting is None:
        return Keys([])
    return Keys([_key(part) for part in read_secrets("api_keys", setting)])


def _key(text: str) -> Key:
    name, _, secret = text.partition(":")
    if name.upper() not in Role.__members__ or name != name.lower() or not secret:
        raise InvalidSettings(f"api_keys must be {_ALLOWED}; one of the keys is not")
    return Key(Role[name.upper()], secret.encode())

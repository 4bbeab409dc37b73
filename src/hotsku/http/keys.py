"""API keys: who may do what."""

import hmac
from enum import IntEnum

from msgspec import Struct

from hotsku.errors import InvalidSettings
from hotsku.secret_lists import read_secrets
from hotsku.settings_values import ALLOWED, MIN_KEY_LENGTH, with_variable

_NAME = with_variable("api_keys")
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

    def check_for_strangers(self, host: str) -> None:
        """See that the keys are enough to listen where others than this machine's users are.

        Raises:
            InvalidSettings: there are none, or one can be guessed.
        """
        if not self._keys:
            raise InvalidSettings(f"{_NAME} must be set to listen on {host}: without keys only loopback is allowed")
        for key in self._keys:
            if len(key.secret) < MIN_KEY_LENGTH:
                short = f"that of {key.role.name.lower()} is shorter"
                raise InvalidSettings(
                    f"{_NAME} must be keys of at least {MIN_KEY_LENGTH} characters to listen on {host}; {short}"
                )


def load_keys(setting: str | None) -> Keys:
    """The keys of the setting `api_keys`: `ROLE:SECRET[,ROLE:SECRET...]`, or `@FILE` with the same, or one a line.

    Raises:
        InvalidSettings: the file cannot be read, or does not have keys.
    """
    if setting is None:
        return Keys([])
    keys: dict[bytes, Key] = {}
    for part in read_secrets("api_keys", setting):
        key = _key(part)
        if keys.setdefault(key.secret, key).role is not key.role:
            raise _bad("one of the keys has two roles")
    return Keys(list(keys.values()))


def _key(text: str) -> Key:
    name, _, secret = text.partition(":")
    if name.upper() not in Role.__members__ or name != name.lower() or not secret:
        raise _bad("one of the keys is not")
    if not secret.isprintable() or any(character.isspace() for character in secret):
        raise _bad("one of the keys has a space or a control character in it")
    return Key(Role[name.upper()], secret.encode())


def _bad(why: str) -> InvalidSettings:
    return InvalidSettings(f"{_NAME} must be {ALLOWED['api_keys']}; {why}")

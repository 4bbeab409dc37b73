"""Receipts: signed proof of an answer to an order, carrying its whole detail.

    v1.<key id>.<payload: JSON, base64url>.<HMAC-SHA256 of all before the last dot, base64url>

The payload follows from the order's record alone, so that the same answer heard again has the same receipt. Who has the
keys can check one without asking anybody:

    keys = hotsku.receipts.read_keys("k1:the-secret")
    hotsku.receipts.verify(deduction.receipt, keys).order_id
"""

import hmac
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from hashlib import sha256

import msgspec
from msgspec import Struct

from hotsku.domain.deduction import Deduction, OrderState, Outcome
from hotsku.domain.order import OrderRecord
from hotsku.domain.times import time_of
from hotsku.errors import InvalidRequest, InvalidSettings
from hotsku.secret_lists import read_secrets
from hotsku.settings_values import with_variable

_VERSION = "v1"
_MAX_LENGTH = 4096
_MAX_KEY_ID_LENGTH = 16

# The secrets by their ids, the one that signs first.
Keys = Mapping[str, bytes]


class LatestStep(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where an order's latest step left it. `refunded` counts units."""

    state: OrderState
    incarnation: int
    seq: int
    at: datetime
    payment_ref: str = ""
    refunded: int = 0


class Receipt(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a receipt says: that the order was accepted (`outcome` is `accepted` or `held`), as event `seq` of its
    partition's `incarnation`; and of the answer to a step, what the latest step left.

    `expires_at` is as of the answer: an extension moves it.
    """

    ledger_id: str
    sku: str
    order_id: str
    buyer_id: str = ""
    quantity: int
    outcome: Outcome
    partition: int
    incarnation: int
    seq: int
    at: datetime
    expires_at: datetime | None = None
    metadata: str = ""
    step: LatestStep | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Receipt).decode


class Signer:
    """Signs the receipts of one ledger's orders with the first of the keys, of which there is at least one."""

    def __init__(self, ledger_id: str, keys: Keys) -> None:
        self._ledger_id = ledger_id
        key_id, secret = next(iter(keys.items()))
        self._begin = f"{_VERSION}.{key_id}.".encode()
        self._signature = _Signature(secret)

    def sign_birth(self, deduction: Deduction) -> str:
        """The receipt of an accepted order, as it was accepted."""
        return self._sign(deduction, deduction.outcome, None)

    def signs_step(self, record: OrderRecord) -> Callable[[Deduction], str]:
        """What signs the receipt of an answer to a step that found, or left, this record."""
        return partial(self._sign_step, record)

    def _sign_step(self, record: OrderRecord, deduction: Deduction) -> str:
        step = None
        if record.step_seq:
            at = time_of(record.step_at_ms)
            step = LatestStep(
                record.state, record.step_incarnation, record.step_seq, at, record.payment_ref, record.refunded
            )
        return self._sign(deduction, Outcome.HELD if record.held else Outcome.ACCEPTED, step)

    def _sign(self, d: Deduction, outcome: Outcome, step: LatestStep | None) -> str:
        receipt = Receipt(
            ledger_id=self._ledger_id,
            sku=d.sku,
            order_id=d.order_id,
            buyer_id=d.buyer_id,
            quantity=d.quantity,
            outcome=outcome,
            partition=d.partition,
            incarnation=d.incarnation,
            seq=d.seq,
            at=_batch_time(d.at_ms),
            expires_at=d.expires_at,
            metadata=d.metadata,
            step=step,
        )
        signed = self._begin + _base64(_encode(receipt))
        return (b"%b.%b" % (signed, self._signature.of(signed))).decode()


def verify(token: str, keys: Keys) -> Receipt:
    """What a receipt says, if one of the keys has signed it.

    Args:
        keys: the secrets by their ids: see `read_keys`.

    Raises:
        InvalidRequest: it is no receipt, or none that these keys have signed.
    """
    signed, _, signature = token.rpartition(".") if type(token) is str and len(token) <= _MAX_LENGTH else ("", "", "")
    version, _, rest = signed.partition(".")
    key_id, _, payload = rest.partition(".")
    secret = keys.get(key_id)
    if version != _VERSION or secret is None or not token.isascii():
        raise _refused()
    if not hmac.compare_digest(_Signature(secret).of(signed.encode()), signature.encode()):
        raise _refused()
    try:
        return _decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, msgspec.MsgspecError):  # signed by these keys, but not here
        raise _refused() from None


def read_keys(setting: str) -> dict[str, bytes]:
    """The keys of the setting `receipt_keys`: `ID:SECRET[,ID:SECRET...]`, or `@FILE` with the same, or one a line.

    Raises:
        InvalidSettings: the file cannot be read, or does not have keys.
    """
    keys: dict[str, bytes] = {}
    for part in read_secrets("receipt_keys", setting):
        key_id, _, secret = part.partition(":")
        if not _is_key_id(key_id) or not secret or key_id in keys:
            name = with_variable("receipt_keys")
            raise InvalidSettings(f"{name} must be ID:SECRET[,ID:SECRET...], each ID once; one of the keys is not")
        keys[key_id] = secret.encode()
    return keys


def _is_key_id(text: str) -> bool:
    plain = text.replace("-", "a").replace("_", "a")
    return len(text) <= _MAX_KEY_ID_LENGTH and plain.isascii() and plain.isalnum()


def _refused() -> InvalidRequest:
    return InvalidRequest("receipt", "one that these keys have signed")


# The orders of a batch are accepted at the same time.
_batch_time = lru_cache(maxsize=16)(time_of)

_BLOCK = 64


class _Signature:
    """HMAC-SHA256 with one secret, base64url. `hmac.digest` begins anew with each message, which takes twice as long:
    of what an order costs over HTTP that is much."""

    def __init__(self, secret: bytes) -> None:
        key = (secret if len(secret) <= _BLOCK else sha256(secret).digest()).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def of(self, signed: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return _base64(outer.digest())


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")

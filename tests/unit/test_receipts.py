"""Receipts: what they say, who can say it, and what is none."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.deduction import Deduction, OrderState, Outcome, Proof
from hotsku.domain.order import OrderRecord
from hotsku.engine.answers import birth_outcome, told
from hotsku.errors import InvalidRequest, InvalidSettings
from hotsku.receipts import LatestStep, Receipt, Signer, read_keys, verify

KEYS = {"k2": b"newer", "k1": b"older"}
SIGNER = Signer("ledger-1", KEYS)
AT = datetime(2026, 5, 1, 12, 0, 0, 123_000, UTC)
AT_MS = 1_777_636_800_123


def deduction(**changes: Any) -> Deduction:
    values: dict[str, Any] = {
        "outcome": Outcome.ACCEPTED,
        "state": OrderState.CONFIRMED,
        "sku": "sku",
        "order_id": "o-1",
        "buyer_id": "b",
        "quantity": 3,
        "partition": 5,
        "metadata": "seat 4 · é",
        "seq": 17,
        "proof": Proof(2, AT_MS, SIGNER.sign_birth),
    }
    return Deduction(**values | changes)


def receipt(of: Deduction) -> str:
    token = of.receipt
    assert token is not None
    return token


def test_a_receipt_carries_the_whole_detail() -> None:
    expected = Receipt(
        ledger_id="ledger-1",
        sku="sku",
        order_id="o-1",
        buyer_id="b",
        quantity=3,
        outcome=Outcome.ACCEPTED,
        partition=5,
        incarnation=2,
        seq=17,
        at=AT,
        metadata="seat 4 · é",
    )
    assert verify(receipt(deduction()), KEYS) == expected
    until = AT + timedelta(minutes=15)
    hold = deduction(outcome=Outcome.HELD, state=OrderState.HELD, expires_at=until)
    held = verify(receipt(hold), KEYS)
    assert (held.outcome, held.expires_at, held.step) == (Outcome.HELD, until, None)


def test_its_form_is_as_it_is_documented() -> None:
    version, key_id, payload, signature = receipt(deduction()).split(".")
    assert (version, key_id) == ("v1", "k2")
    fields = msgspec.json.decode(urlsafe_b64decode(payload + "=="))
    assert fields["at"] == "2026-05-01T12:00:00.123000Z"
    assert len(signature) == 43
    assert receipt(deduction()).isascii()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_its_signature_is_the_hmac_that_every_library_makes(length: int) -> None:
    secret = bytes(range(length))
    proof = Proof(2, AT_MS, Signer("ledger-1", {"k1": secret}).sign_birth)
    signed, _, signature = receipt(deduction(proof=proof)).rpartition(".")
    digest = hmac.digest(secret, signed.encode(), "sha256")
    assert signature == urlsafe_b64encode(digest).decode().rstrip("=")


def test_the_same_answer_heard_again_has_the_same_receipt() -> None:
    record = OrderRecord(3, 2, 17, AT_MS, metadata="seat 4 · é")
    names = {"sku": "sku", "order_id": "o-1", "buyer_id": "b", "partition": 5}
    again = told(record, birth_outcome(record), now_ms=AT_MS + 99, sign=SIGNER.sign_birth, replayed=True, **names)  # type: ignore[arg-type]
    assert again.receipt == deduction().receipt


def test_a_steps_receipt_says_what_the_latest_step_left() -> None:
    record = OrderRecord(
        3,
        2,
        17,
        AT_MS,
        held=True,
        state=OrderState.REFUNDED,
        refunded=3,
        step_incarnation=4,
        step_seq=2,
        step_at_ms=AT_MS + 1000,
        payment_ref="pay-9",
    )
    answer = deduction(outcome=Outcome.REFUNDED, proof=Proof(2, AT_MS, SIGNER.signs_step(record)))
    said = verify(receipt(answer), KEYS)
    assert (said.outcome, said.seq, said.at) == (Outcome.HELD, 17, AT)
    assert said.step == LatestStep(OrderState.REFUNDED, 4, 2, AT + timedelta(seconds=1), "pay-9", 3)
    untouched = deduction(proof=Proof(2, AT_MS, SIGNER.signs_step(OrderRecord(3, 2, 17, AT_MS))))
    assert receipt(untouched) == receipt(deduction())


def test_a_no_has_none_and_neither_has_who_has_no_keys() -> None:
    assert deduction(proof=None).receipt is None
    assert deduction(proof=Proof(2, AT_MS)).receipt is None


def test_nothing_is_signed_until_a_receipt_is_read() -> None:
    signed = []

    def sign(of: Deduction) -> str:
        signed.append(of)
        return "token"

    answer = deduction(proof=Proof(2, AT_MS, sign))
    assert not signed
    assert (answer.receipt, signed) == ("token", [answer])


def test_older_keys_still_verify_and_unknown_ones_do_not() -> None:
    old = receipt(deduction(proof=Proof(2, AT_MS, Signer("ledger-1", {"k1": b"older"}).sign_birth)))
    assert verify(old, KEYS).order_id == "o-1"
    for keys in ({}, {"k2": b"newer"}, {"k1": b"newer"}):
        with pytest.raises(InvalidRequest, match=r"^receipt must be one that these keys have signed"):
            verify(old, keys)


@given(st.data())
def test_whatever_is_changed_in_one_is_seen(data: st.DataObject) -> None:
    token = receipt(deduction())
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[place]))
    with pytest.raises(InvalidRequest):
        verify(token[:place] + other + token[place + 1 :], KEYS)


@given(st.text() | st.binary() | st.none() | st.lists(st.text()))
def test_anything_else_is_none(token: Any) -> None:
    with pytest.raises(InvalidRequest):
        verify(token, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.replace("v1.", "v2.", 1),
        lambda token: token.replace("k2", "k1", 1),
        lambda token: token.rpartition(".")[0],
        lambda token: token + ".x",
        lambda token: token.upper(),
        lambda token: token * 20,
    ],
)
def test_other_ways_to_write_one_are_none(change: Any) -> None:
    with pytest.raises(InvalidRequest):
        verify(change(receipt(deduction())), KEYS)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"\xff", b'{"ledger_id": 7}', b"null"])
def test_what_these_keys_signed_for_something_else_is_none(payload: bytes) -> None:
    signed = f"v1.k2.{urlsafe_b64encode(payload).rstrip(b'=').decode()}"
    signature = urlsafe_b64encode(hmac.digest(b"newer", signed.encode(), "sha256")).rstrip(b"=").decode()
    with pytest.raises(InvalidRequest):
        verify(f"{signed}.{signature}", KEYS)


def test_a_signer_does_not_show_its_keys() -> None:
    answer = deduction(proof=Proof(2, AT_MS, SIGNER.signs_step(OrderRecord(3, 2, 17, AT_MS))))
    assert "newer" not in repr(answer) + repr(SIGNER)


# --- keys ---


def test_the_first_key_signs(tmp_path: Path) -> None:
    assert list(read_keys("k2:new,k1:old").items()) == [("k2", b"new"), ("k1", b"old")]
    assert read_keys("k:a:b") == {"k": b"a:b"}
    file = tmp_path / "keys"
    for text in ("k2:new,k1:old", "k2:new\nk1:old\n", "\nk2:new , k1:old\n\n"):
        file.write_text(text)
        assert list(read_keys(f"@{file}").items()) == [("k2", b"new"), ("k1", b"old")]


@pytest.mark.parametrize("text", ["", "\n", "k1", "k1:", ":secret", "a b:x", "é:x", f"{'k' * 17}:x", "k1:a,k1:b"])
def test_bad_keys_are_refused_without_being_shown(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=r"^receipt_keys \(HOTSKU_RECEIPT_KEYS\) must be") as caught:
        read_keys(f"@{file}")
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"^receipt_keys .*nowhere cannot be read"):
        read_keys(f"@{tmp_path}/nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="not UTF-8"):
        read_keys(f"@{tmp_path}/bytes")

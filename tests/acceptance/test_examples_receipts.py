"""The receipt of docs/receipts.md, and a gateway's own, are verified as the page says: in Python, and by Node.js."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.documents import blocks, page
from tests.support.example import EXAMPLES
from tests.support.folder_processes import embedded_folder
from tests.support.gateway import running_gateway

import hotsku.receipts
from hotsku import Outcome
from hotsku.client import BlockingClient

_PAGE = page("docs/receipts.md")
_SHOWN = blocks(_PAGE, "text")[0].replace("\n", "")
_SAYS = json.loads(blocks(_PAGE, "json")[0])
_KEYS = "k1:correct-horse-battery-staple"
_ROTATED = f"k2:another\n{_KEYS}\n"
_NODE = shutil.which("node")


def _with_python(token: str, keys: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", blocks(_PAGE, "python")[0], token]
    return subprocess.run(command, input=keys, capture_output=True, text=True, timeout=120)


def _with_node(token: str, keys: str) -> "subprocess.CompletedProcess[str]":
    assert _NODE is not None
    command = [_NODE, str(EXAMPLES / "receipts" / "verify.js"), token]
    return subprocess.run(command, input=keys, capture_output=True, text=True, timeout=120)


def _changed(token: str) -> Iterator[str]:
    """Tokens that nobody has signed: each part changed, missing, or one too many."""
    parts = token.split(".")
    for index, part in enumerate(parts):
        for other in (part[:-1], f"{part}A", "", part.swapcase()):
            yield ".".join([*parts[:index], other, *parts[index + 1 :]])
    yield from ("", "v1.k1", f"{token}.", f".{token}", f"{token}=", token.replace(".k1.", ".k2."))


def test_the_receipt_of_the_page() -> None:
    receipt = hotsku.receipts.verify(_SHOWN, hotsku.receipts.read_keys(_KEYS))
    assert (receipt.order_id, receipt.quantity, receipt.outcome) == ("o-1", 2, Outcome.ACCEPTED)
    for keys in (_KEYS, _ROTATED):
        assert _with_python(_SHOWN, keys).stdout == "o-1 2 accepted\n"
    assert "InvalidRequest" in _with_python(_SHOWN, "k1:another").stderr


@pytest.mark.skipif(_NODE is None, reason="optional: no node on PATH")
def test_the_receipt_of_the_page_by_node() -> None:
    for keys in (_KEYS, _ROTATED):
        assert json.loads(_with_node(_SHOWN, keys).stdout) == _SAYS
    assert (_with_node(_SHOWN, "k1:another").returncode, _with_node(_SHOWN, "k3:x").returncode) == (1, 1)


@pytest.mark.skipif(_NODE is None, reason="optional: no node on PATH")
def test_node_refuses_what_nobody_signed() -> None:
    tokens = [token for token in _changed(_SHOWN) if token != _SHOWN]
    keys = hotsku.receipts.read_keys(_ROTATED)
    for token in tokens:
        with pytest.raises(hotsku.InvalidRequest):
            hotsku.receipts.verify(token, keys)
    assert _NODE is not None
    script = """
        const { readKeys, verify } = require(process.argv[1]);
        const { keys, tokens } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
        console.log(JSON.stringify(tokens.map((token) => verify(token, readKeys(keys)))));
    """
    command = [_NODE, "-e", script, str(EXAMPLES / "receipts" / "verify.js")]
    given = json.dumps({"keys": _ROTATED, "tokens": [*tokens, _SHOWN]})
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [None] * len(tokens) + [_SAYS]


@pytest.mark.skipif(_NODE is None, reason="optional: no node on PATH")
def test_a_gateways_receipts_by_node() -> None:
    """Those of a hold and of its confirmation, by the keys that the embedded folder has made."""
    with embedded_folder(".hotsku") as folder, running_gateway(folder.path.parent) as gateway:
        with BlockingClient(gateway.url) as stock:
            stock.create_item("sneaker-42", 10)
            held = stock.reserve("sneaker-42", 2, order_id="o-1", buyer_id="u-7", metadata="größer als “ASCII”")
            sold = stock.confirm("sneaker-42", order_id="o-1", buyer_id="u-7", payment_ref="pay-9")
        keys = Path(folder.path / "receipt.keys").read_text()
        first, last = (json.loads(_with_node(each.receipt or "", keys).stdout) for each in (held, sold))
        assert (first["outcome"], first["quantity"], first["metadata"]) == ("held", 2, "größer als “ASCII”")
        assert "step" not in first
        assert (last["seq"], last["step"]["state"], last["step"]["payment_ref"]) == (first["seq"], "confirmed", "pay-9")

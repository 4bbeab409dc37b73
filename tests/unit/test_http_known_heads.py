"""Heads that were read before: which are kept, and for which bytes they are taken again."""

import pytest

from hotsku.http.head import Head, Way, read_head
from hotsku.http.known_heads import KnownHead, KnownHeads

WAY = Way(b"deductions", ("a",))
HEAD = b"POST /v1/items/a/deductions HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\n"


def learned(segment: bytes, body: bytes, way: Way = WAY, head: Head | None = None) -> KnownHeads:
    heads = KnownHeads()
    heads.learn(segment, body, way, head or read_head("10.0.0.1", [(b"host", b"t")]), keep_alive=True)
    return heads


def test_the_same_bytes_mean_the_same() -> None:
    heads = learned(HEAD + b"{}", b"{}")
    assert heads.find(HEAD + b"[]") == (KnownHead(WAY, {b"host": b"t"}, 2, keep_alive=True), b"[]")


@pytest.mark.parametrize(
    "segment",
    [
        HEAD + b"{",
        HEAD + b"{}\r\n",
        HEAD + b"{}" + HEAD + b"{}",
        HEAD,
        HEAD[:-2],
        HEAD.lower() + b"{}",
        b"\r\n" + HEAD + b"{}",
        b"{}",
        b"",
    ],
)
def test_any_other_segment_is_the_parsers(segment: bytes) -> None:
    assert learned(HEAD + b"{}", b"{}").find(segment) is None


@pytest.mark.parametrize(
    ("segment", "body"),
    [
        (HEAD + b"{}" + HEAD + b"[]", b"{}"),  # pipelined
        (HEAD + b"{}" + HEAD + b"[]", b"[]"),
        (HEAD[:-4].replace(b"\r\n", b"\n") + b"\n\n{}\r\n\r\n", b"{}\r\n\r\n"),  # a head that ends elsewhere
        (HEAD + b"2\r\n{}\r\n0\r\n\r\n", b"{}"),  # in chunks
        (b"\r\n\r\n" + HEAD + b"{}", b"{}"),
        (HEAD.replace(b"host: t", b"host: " + b"t" * 2_048) + b"{}", b"{}"),
    ],
)
def test_only_a_head_that_ends_where_it_seems_to_is_kept(segment: bytes, body: bytes) -> None:
    assert learned(segment, body).find(segment) is None


def test_heads_that_will_not_come_again_are_not_kept() -> None:
    segment = HEAD + b"{}"
    for name in (b"idempotency-key", b"traceparent", b"x-request-id"):
        assert learned(segment, b"{}", head=read_head("10.0.0.1", [(name, b"x")])).find(segment) is None
    assert learned(segment, b"{}", Way(b"confirm", ("a", "o-1"))).find(segment) is None


def test_there_are_never_too_many() -> None:
    heads = KnownHeads()
    segments = [HEAD.replace(b"host: t", b"host: %d" % number) + b"{}" for number in range(3_000)]
    for segment in segments:
        heads.learn(segment, b"{}", WAY, read_head("10.0.0.1", []), keep_alive=True)
        assert heads.find(segment) is not None
    assert sum(heads.find(segment) is not None for segment in segments) <= 1_024

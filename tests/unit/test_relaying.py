"""When the relay sends, waits, and sends again."""

from hypothesis import given
from hypothesis import strategies as st

from hotsku.domain.events import Event, EventKind, PartitionRef, decode_events, decode_message, encode_message
from hotsku.domain.relaying import MAX_BYTES, MAX_EVENTS, Landings, Progress, cut_messages


def _progress(watermark: int = 0) -> Progress:
    return Progress(ref=PartitionRef(1, 0), incarnation=1, watermark=watermark, patience_ms=100.0)


def _two_in_one_queue() -> tuple[Progress, Progress]:
    landings = Landings()
    first, second = [
        Progress(ref=PartitionRef(1, n), incarnation=1, watermark=0, patience_ms=100.0, landings=landings)
        for n in range(2)
    ]
    return first, second


def _event(seq: int, id_length: int = 8, kind: EventKind = EventKind.DEDUCTED, metadata: str = "") -> Event:
    more = kind is not EventKind.DEDUCTED
    return Event(
        expires_at=10**13 if more else 0,
        payment_ref="p" * 128 if more else "",
        cart=more,
        seq=seq,
        kind=kind,
        metadata=metadata,
        quantity=10**9,
        at=10**13,
        order_id="o" * id_length,
        buyer_id="b" * id_length,
    )


_METADATA = ["", "{}", "é" * 128, "\x01" * 256, '"' * 256]


@given(st.integers(0, 12_000), st.integers(1, 64), st.sampled_from(EventKind), st.sampled_from(_METADATA))
def test_messages_are_whole_and_bounded(count: int, id_length: int, kind: EventKind, metadata: str) -> None:
    events = [_event(10**13 + n, id_length, kind, metadata) for n in range(count)]
    cut = list(cut_messages(events, lambda run: encode_message("l", "s", PartitionRef(1, 0), 1, run)))
    assert [event for run, _ in cut for event in run] == events
    for run, body in cut:
        assert 0 < len(run) <= MAX_EVENTS
        assert len(body) <= MAX_BYTES
        assert decode_events(decode_message(body)) == run


def test_what_is_in_flight_lands_with_the_watermark() -> None:
    track = _progress()
    for last_seq in (10, 20, 30):
        track.sent(last_seq, 0.0)
    assert track.reached(20, 1.0)
    assert [flight.last_seq for flight in track.flying] == [30]
    assert not track.reached(20, 2.0)
    assert not track.reached(10, 2.0)
    assert (track.watermark, track.published) == (20, 30)


def test_a_message_that_the_ledger_had_before_the_broker_answered_is_not_in_flight() -> None:
    track = _progress()
    track.reached(10, 0.0)
    track.sent(10, 1.0)
    assert not track.flying
    assert track.published == 10


def test_so_many_messages_and_no_more_are_in_flight() -> None:
    track = _progress()
    sent = 0
    while track.may_send:
        sent += 1
        track.sent(sent, 0.0)
    assert sent == 8
    track.reached(1, 1.0)
    assert track.may_send


def test_it_sends_again_one_message_at_a_time_and_ever_more_patiently() -> None:
    track = _progress()
    now_ms = 0.0
    for wait_ms in (100, 200, 400, 800):
        track.sent(10, now_ms)
        assert not track.stalled(now_ms + wait_ms - 1)
        now_ms += wait_ms
        assert track.stalled(now_ms)
        track.rewind(now_ms)
        assert track.published == 0
    track.sent(10, now_ms)
    before = track.may_send
    track.reached(10, now_ms)
    assert (before, track.may_send) == (False, True)
    assert not track.stalled(now_ms + 10**6)


def test_patience_has_an_end() -> None:
    track = _progress()
    for _ in range(40):
        track.rewind(0.0)
    track.sent(10, 0.0)
    assert track.stalled(30_000.0)


def test_a_message_waits_for_those_that_were_sent_before_it() -> None:
    first, second = _two_in_one_queue()
    for last_seq in (10, 20):
        first.sent(last_seq, 0.0)
    second.sent(10, 1.0)
    for landed, now_ms in ((10, 90.0), (20, 180.0)):
        assert not second.stalled(now_ms)
        first.reached(landed, now_ms)
    assert not second.stalled(279.0)
    assert second.stalled(280.0)


def test_a_message_is_lost_whatever_lands_that_was_sent_later() -> None:
    first, second = _two_in_one_queue()
    first.sent(10, 0.0)
    second.sent(10, 1.0)
    second.sent(20, 2.0)
    second.reached(10, 50.0)
    assert not first.stalled(99.0)
    assert first.stalled(100.0)
    assert not second.stalled(149.0)


def test_what_was_given_up_is_the_last_in_the_queue() -> None:
    first, second = _two_in_one_queue()
    first.sent(10, 0.0)
    second.sent(10, 1.0)
    first.rewind(100.0)
    first.sent(10, 101.0)
    second.reached(10, 300.0)
    assert not first.stalled(499.0)
    assert first.stalled(500.0)

"""Which partitions the reaper looks at, and when."""

from hotsku.domain.events import PartitionRef
from hotsku.domain.sweeping import Agenda, holding

A, B, C = (PartitionRef(1, n) for n in range(3))


def test_an_item_holds_what_its_incarnations_add_up_to() -> None:
    assert holding([(1, 5), (1, -5), (2, 3), (2, -1), (3, 0), (4, -2)]) == {2, 4}


def test_the_earliest_moment_is_next() -> None:
    agenda = Agenda()
    assert agenda.due(10**14) == []
    agenda.follow({A: 1, B: 2})
    agenda.note(A, 500)
    agenda.note(B, 300)
    assert agenda.next_ms == 300
    assert (agenda.due(299), agenda.due(300)) == ([], [(B, 2)])
    assert sorted(agenda.due(500)) == [(A, 1), (B, 2)]
    agenda.note(B, 0)
    assert (agenda.next_ms, agenda.due(10**14)) == (500, [(A, 1)])


def test_what_has_no_holds_any_more_is_forgotten() -> None:
    agenda = Agenda()
    agenda.follow({A: 1, B: 1})
    agenda.note(A, 100)
    agenda.note(B, 200)
    agenda.follow({B: 3, C: 1})
    assert agenda.due(1_000) == [(B, 3)]

"""Who orders what, when, and from which client process. Pure: the same seed gives the same sale.

Orders are numbers, 0 to buyers - 1, one a buyer. Each process gets a share of them in a random order. Some orders
are sent twice on purpose: some again later by the same process, some (the waves) by two processes at the same moment.
"""

from collections.abc import Iterator, Sequence
from random import Random

from msgspec import Struct

# Of 100 buyers, 6 repeat their order: 5.7 % of all requests.
_REPEATERS_OF_100 = 6
_WAVES = 20


class Wave(Struct, frozen=True):
    """Orders that two processes send at the same moment, once so many requests have been answered."""

    after_answers: int
    processes: tuple[int, int]
    orders: list[int]


class Plan(Struct, frozen=True, kw_only=True):
    """A sale.

    Attributes:
        quantities: units of each order.
        shares: for each process the orders that it sends by itself, in order.
        waves: what two processes send at once, by `after_answers`.
    """

    quantities: list[int]
    shares: list[list[int]]
    waves: list[Wave]

    @property
    def requests(self) -> int:
        """All requests, repeats included."""
        return sum(map(len, self.shares)) + 2 * sum(len(wave.orders) for wave in self.waves)


def make_plan(*, buyers: int, max_quantity: int, processes: int, seed: int) -> Plan:
    """Plan a sale in which `buyers` order 1 to `max_quantity` units each."""
    random = Random(seed)
    quantities = [random.randint(1, max_quantity) for _ in range(buyers)] if max_quantity > 1 else [1] * buyers
    orders = list(range(buyers))
    random.shuffle(orders)
    again, twins = _repeaters(orders, processes, random)
    apart = set(twins)
    alone = [order for order in orders if order not in apart]
    shares = [_with_repeats(alone[process::processes], again, random) for process in range(processes)]
    return Plan(quantities=quantities, shares=shares, waves=list(_waves(twins, processes, sum(map(len, shares)))))


def remaining(assigned: Sequence[int], answers: dict[int, int]) -> list[int]:
    """What a process that was started again has still to send.

    Args:
        assigned: all that the process was to send.
        answers: how many answers came to each order.
    """
    answered = dict(answers)
    left = []
    for order in assigned:
        if answered.get(order, 0) > 0:
            answered[order] -= 1
        else:
            left.append(order)
    return left


def _repeaters(orders: list[int], processes: int, random: Random) -> tuple[set[int], list[int]]:
    """Whose orders are sent again later, and whose twice at once. Most of them come early, while there is stock."""
    count = -(-len(orders) * _REPEATERS_OF_100 // 100)
    places: set[int] = set()
    while len(places) < count:
        places.add(int(len(orders) * random.random() ** 2))
    chosen = [orders[place] for place in sorted(places)]
    return (set(chosen[::2]), chosen[1::2]) if processes > 1 else (set(chosen), [])


def _with_repeats(share: list[int], again: set[int], random: Random) -> list[int]:
    """The share with each repeated order once more, somewhere behind its first."""
    repeats = [
        (place + random.random() * (len(share) - place), order) for place, order in enumerate(share) if order in again
    ]
    first = [(float(place), order) for place, order in enumerate(share)]
    return [order for _, order in sorted(first + repeats)]


def _waves(twins: list[int], processes: int, requests: int) -> Iterator[Wave]:
    """The twins in waves, close together at first, each between two processes in turn."""
    waves = min(_WAVES, len(twins))
    for wave in range(waves):
        pair = (wave % processes, (wave + 1) % processes)
        yield Wave(int(requests * (wave / waves) ** 2), pair, twins[wave::waves])

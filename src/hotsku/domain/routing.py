"""Where an order lives: its home partition, and its field in the partition's hash of orders.

An order's home is a pure function of (buyer, or order where there is no buyer) and the item's number of partitions,
which never changes. So a retry always meets its first attempt, whichever process sends it.
"""

from collections.abc import Callable
from zlib import crc32

from hotsku.domain.identity import MAX_ID_LENGTH

# chr(48) is "0": a length of 0 to 64 becomes one printable character, "0" to "p".
_LENGTH_BASE = 48
_LENGTHS = [chr(_LENGTH_BASE + length) for length in range(MAX_ID_LENGTH + 1)]


def home(order_id: str, buyer_id: str, partitions: int) -> int:
    """The partition, 0 to `partitions` - 1, that decides this order; also where it will say that the ids are none."""
    return crc32((buyer_id or order_id).encode("utf-8", "surrogatepass")) % partitions


def order_field(order_id: str, buyer_id: str) -> str:
    """The order's key within its partition: the buyer's length as one character, the buyer, the order.

    The length prefix keeps ("ab", "c") and ("a", "bc") apart.
    """
    return _LENGTHS[len(buyer_id)] + buyer_id + order_id


def split_field(field: str) -> tuple[str, str]:
    """The (order_id, buyer_id) of an `order_field`."""
    end = 1 + ord(field[0]) - _LENGTH_BASE
    return field[end:], field[1:end]


def mint_order_id(draw: Callable[[], str], partition: int, partitions: int) -> str:
    """An order id whose home is `partition`, found by drawing ids until one is.

    Args:
        draw: returns a fresh unique id at each call; about `partitions` calls are made.
    """
    while True:
        order_id = draw()
        if home(order_id, "", partitions) == partition:
            return order_id

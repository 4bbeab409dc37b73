"""From a row in the ledger to stock on a shard: opening partitions, leasing, and installing what was leased.

A lease is a ledger transaction, and its installation a call to the shard; a crash may come between the two. So whoever
sees a shard behind its leases calls `install_missing`, and every step here may be done twice, by anyone.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from hotsku.domain.events import PartitionRef
from hotsku.domain.item import Item
from hotsku.domain.leasing import share, switch_threshold
from hotsku.errors import BackendUnavailable
from hotsku.ports import Clock, Grant, Lease, Ledger, Lost, PartitionRow, PartitionStatus, Shard

_BUCKETS = 2


def latest(rows: Iterable[PartitionRow]) -> list[PartitionRow]:
    """Each partition in its latest incarnation, from rows in the order of their incarnations."""
    return list({row.ref: row for row in rows}.values())


def unsold(pool: int, partitions: Iterable[tuple[PartitionRow, PartitionStatus]]) -> int:
    """What pool and partitions can sell. Units on their way between the two count: else an item would look sold out
    while its last units move.

    Args:
        partitions: rows from one snapshot with the pool, and the status of each, read after that.
    """
    # Units that came into the pool after the snapshot may have been leased and sold before the status was read.
    return max(0, pool + sum(_beside_the_pool(row, status) for row, status in partitions))


def _beside_the_pool(row: PartitionRow, status: PartitionStatus) -> int:
    if not status.armed:
        return 0
    if status.incarnation != row.incarnation:
        return status.left
    # The ledger may have more as returned: the units of an order that had a row already.
    return status.left + (row.granted - status.installed) + max(0, status.returned - row.returned)


async def reachable(
    shard: Shard, refs: Sequence[PartitionRef], refused: Callable[[PartitionRef, str], None] = lambda ref, why: None
) -> dict[PartitionRef, PartitionStatus]:
    """How the partitions stand on their shards. Those whose shard cannot be reached, or refuses to tell, are left out:
    the others sell on.

    Args:
        refused: hears of those of which a shard refuses to tell, and why.

    Raises:
        Lost: no shard at all can be reached.
    """
    found = await asyncio.gather(*(_status(shard, ref, refused) for ref in refs))
    statuses = {ref: each for ref, each in zip(refs, found, strict=True) if isinstance(each, PartitionStatus)}
    for each in found:
        if isinstance(each, Lost) and not statuses:
            raise each
    return statuses


async def _status(
    shard: Shard, ref: PartitionRef, refused: Callable[[PartitionRef, str], None]
) -> PartitionStatus | Lost | None:
    try:
        return await shard.status(ref)
    except Lost as lost:
        return lost
    except BackendUnavailable as error:
        refused(ref, str(error))
        return None


async def open_item(ledger: Ledger, shard: Shard, clock: Clock, item: Item) -> None:
    """Begin an item's new partitions on their shards and fill both buckets of each. Done before: nothing happens."""
    refs = [PartitionRef(item.id, number) for number in range(item.spec.partitions)]
    # Read before the ledger: should the shard restart in between, a begin that follows from the ledger is refused.
    memories = dict(zip(refs, await asyncio.gather(*(shard.memory(ref) for ref in refs)), strict=True))
    new = [row for row in await ledger.partitions(item.id) if row.state == "new"]
    await asyncio.gather(*(shard.begin(row.ref, row.incarnation, item, memories[row.ref]) for row in new))
    await asyncio.gather(*(configure_newest(ledger, shard, row) for row in new))
    for row in new:
        await ledger.open_partition(row.ref, row.incarnation)
    for bucket in range(_BUCKETS):
        await _fill_bucket(ledger, shard, clock, item, bucket)


async def configure_newest(ledger: Ledger, shard: Shard, row: PartitionRow) -> None:
    """Give a partition that was armed a moment ago the item's newest configuration: it may have an older one, which we
    or another read before the item was paused or closed. Between arming and opening, so that nothing sells under it."""
    item = await ledger.item_by_id(row.item_id)
    if item is not None and item.version > 1:
        await shard.configure(row.ref, row.incarnation, item)


async def install(shard: Shard, lease: Lease) -> int:
    """Install one lease. Returns the last lease that the shard has, lower than `lease.no` where one is missing."""
    return await shard.install(lease.ref, lease.incarnation, lease.no, lease.quantity, switch_threshold(lease.quantity))


async def install_missing(ledger: Ledger, shard: Shard, row: PartitionRow, installed: int) -> int:
    """Install the leases that the ledger has and the shard, which has `installed` of them, has not.

    Returns the units installed.
    """
    leases = await ledger.leases_after(row.ref, row.incarnation, installed)
    for lease in leases:
        await install(shard, lease)
    return sum(lease.quantity for lease in leases)


async def lease_and_install(ledger: Ledger, shard: Shard, clock: Clock, grants: Sequence[Grant]) -> list[Lease] | None:
    """Make the leases, one a partition, in one transaction, then install them. None where the ledger has moved on: look
    again."""
    leases = await ledger.lease(grants, clock.now_ms())
    await asyncio.gather(*(install(shard, lease) for lease in leases or ()))  # together: they share syncs to disk
    return leases


async def _fill_bucket(ledger: Ledger, shard: Shard, clock: Clock, item: Item, bucket: int) -> None:
    """Give each partition that has had `bucket` leases its next one, and install what is missing.

    Where another process leases at the same moment, the transaction fails and the look shows what is left to do.
    """
    while True:
        rows = latest(await ledger.partitions(item.id))
        for row, status in zip(rows, await asyncio.gather(*(shard.status(row.ref) for row in rows)), strict=True):
            if status.lease_no < row.lease_no:
                await install_missing(ledger, shard, row, status.lease_no)
        standing = await ledger.standing(item.id)
        quantity = share(standing.pool, item.spec.partitions)
        behind = [row for row in rows if row.state == "open" and row.lease_no == bucket]
        if quantity == 0 or not behind or standing.state == "closed":
            return
        grants = [Grant(row.ref, row.incarnation, row.lease_no, quantity) for row in behind]
        if await lease_and_install(ledger, shard, clock, grants) is not None:
            return

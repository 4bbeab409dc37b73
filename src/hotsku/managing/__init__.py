"""What is done to a whole item while it sells: pause, resume, close, restock.

The ledger first, then every partition: a change of an item's state is a new version of its configuration, and a shard
keeps the newest that it has heard of. Whoever arms a partition reads the item after that, so none opens under an older
one. Every step may be done twice, by anyone; what a crash cut off is finished by the same call again.
"""

from hotsku.managing.management import Management, StateChange

__all__ = ["Management", "StateChange"]

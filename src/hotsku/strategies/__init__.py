"""The rungs of the ladder: what shops do before they need partitions, as strategies behind one interface.

    database locks   `pessimistic`, `optimistic`, `guarded`, `skip_locked`
    a cache beside   `cache_aside`
    one Redis key    `one_key`
    partitions       `partitions`: HotSKU itself

`hotsku.strategies.names` makes one by its name.
"""

"""What a transaction raises to end itself."""


class LostRace(Exception):
    """A guarded update met other figures than the transaction had read. It is rolled back and tried again."""


class LostGuard(Exception):
    """A partition or the pool is not as the caller took it to be. The transaction is rolled back."""

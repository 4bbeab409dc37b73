"""Why a shard did not do what it was asked."""

from typing import TypeAlias

from hotsku.errors import BackendUnavailable


class Fenced(Exception):
    """The shard's memory of this partition is not the one that was armed: it decides nothing."""


class Stale(Exception):
    """The caller names an incarnation that is over."""


class Late(Exception):
    """The call reached the shard after its deadline, and did nothing. `now_ms` is the shard's clock."""

    def __init__(self, now_ms: int) -> None:
        super().__init__("the call was late")
        self.now_ms = now_ms


class Lost(Exception):
    """The connection broke. `sent` says whether the call may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Unsure(BackendUnavailable):
    """No answer came to a change's COMMIT, and the ledger could not be asked again: it has all of the change, or
    nothing. Any other `BackendUnavailable` of a change says that it has nothing."""


# What a batch is told where it was not decided: as a value, for each batch of a call is answered by itself.
Refusal: TypeAlias = Fenced | Stale | Late | Lost | BackendUnavailable

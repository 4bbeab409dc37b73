"""Every fault that HotSKU raises. Expected noes (sold out, limit reached, ...) are values: see `Outcome`.

HotSKUError
├── InvalidSettings       a setting is wrong: names its place and what is allowed
├── InvalidRequest        an argument is wrong: names the field and what is allowed
├── UnknownItem           no item has this SKU
├── IdempotencyConflict   the same key came with other content
├── OutcomeUnknown        it may or may not have happened: send the same again, that is safe
├── ConservationBroken    a change of the ledger's figures would not add up; it was rolled back
├── BackendUnavailable    a shard, the ledger or the broker cannot be reached; it was not done
└── Overloaded            not served in time, nothing was sold; try again later
"""


class HotSKUError(Exception):
    """The base of every fault that HotSKU raises."""


class InvalidSettings(HotSKUError):
    """A setting is wrong. The message names the setting, where it came from, and what is allowed."""


class InvalidRequest(HotSKUError):
    """An argument is wrong; nothing was sent.

    Args:
        field: the argument's name.
        allowed: what is allowed, as words that complete "<field> must be ...".
    """

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"{field} must be {allowed}")
        self.field = field
        self.allowed = allowed


class UnknownItem(HotSKUError):
    """No item has this SKU."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"no item has the sku {sku!r}; create it first")
        self.sku = sku


class IdempotencyConflict(HotSKUError):
    """The same order (or item) was sent before with other content; the first one stands.

    Args:
        field: the argument that differs, where one alone does; else the one that names what was sent before.
    """

    def __init__(self, why: str, field: str = "order_id") -> None:
        super().__init__(why)
        self.field = field


class OutcomeUnknown(HotSKUError):
    """It may or may not have been done: an order, a step, a change of an item. Send the same again, under the same id:
    it is never done twice."""


class ConservationBroken(HotSKUError):
    """A change of the ledger's figures would not add up, as its constraints see it. All of it was rolled back."""


class BackendUnavailable(HotSKUError):
    """A back end cannot be reached or is not ready. Nothing was sold by this call; what it asks for was not done."""


class Overloaded(HotSKUError):
    """The request was not served in time. Nothing was sold by this call."""

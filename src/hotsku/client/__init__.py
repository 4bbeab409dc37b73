"""A client of the HTTP gateway: the engine's methods, outcomes and exceptions, over the network.

    async with hotsku.client.Client("http://127.0.0.1:8000") as stock:
        deduction = await stock.deduct("sneaker-42", 1, buyer_id="u-7")

    with hotsku.client.BlockingClient("http://127.0.0.1:8000") as stock:
        deduction = stock.deduct("sneaker-42", 1, buyer_id="u-7")

What passes (a broken connection, 202, 429, 503) is sent again, always with the same order, until `budget_s` is over.
"""

try:
    import httpx  # noqa: F401  # an extra: who lacks it is told which
except ImportError as error:
    raise ImportError("hotsku.client needs httpx: pip install 'hotsku[client]'") from error

from hotsku.client.asynchronous import Client
from hotsku.client.blocking import BlockingClient

__all__ = ["BlockingClient", "Client"]

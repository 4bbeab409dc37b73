"""Celery tasks that let go of abandoned check-outs, so that others can buy what they hold.

    hotsku serve
    BROKER=redis://127.0.0.1:6379 celery --workdir examples/celery_task -A tasks worker --beat

HotSKU ends every hold by itself when its time is over, with no task. This is for a shop that wants units back sooner
where the buyer has not even begun to pay. Both tasks may run twice, late, or at once with a payment: they lose, for
what was confirmed is not released.
"""

import os
from datetime import timedelta
from functools import cache

from celery import Celery

import hotsku
from hotsku import EventKind
from hotsku.client import BlockingClient

SKU = os.environ.get("SKU", "sneaker-42")
ABANDONED = timedelta(seconds=float(os.environ.get("ABANDONED_S", "300")))
SWEEP_S = float(os.environ.get("SWEEP_S", "60"))
PAGE = 1000

app = Celery("shop", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379"))
app.conf.task_acks_late = True  # a task whose worker dies runs again
app.conf.beat_schedule = {"sweep": {"task": "tasks.sweep", "schedule": SWEEP_S, "args": (SKU,)}}

# Worth another try. What is wrong by itself (an unknown item, say) is not.
PASSING = (hotsku.OutcomeUnknown, hotsku.BackendUnavailable, hotsku.Overloaded)


@cache
def stock() -> BlockingClient:
    """The worker process's client, made after it has forked."""
    return BlockingClient(os.environ.get("GATEWAY", "http://127.0.0.1:8000"), api_key=os.environ.get("GATEWAY_KEY"))


@app.task(autoretry_for=PASSING, retry_backoff=True, max_retries=None)
def sweep(sku: str) -> int:
    """Have every old hold looked at. Returns how many there are."""
    found, after = 0, None
    while True:
        page = stock().orders(sku, state="held", older_than=ABANDONED, after=after, limit=PAGE)
        for hold in page:
            abandon.delay(sku, hold.order_id, hold.buyer_id)
        found += len(page)
        if len(page) < PAGE:
            return found
        after = page[-1]


@app.task(autoretry_for=PASSING, retry_backoff=True, max_retries=None)
def abandon(sku: str, order_id: str, buyer_id: str) -> str:
    """Release a hold whose buyer has not begun to pay. Returns what the order is now."""
    history = stock().order_history(sku, order_id, buyer_id)
    if any(event.kind is EventKind.PAYMENT_BEGUN for event in history):
        return "in payment"
    return stock().release(sku, order_id=order_id, buyer_id=buyer_id).outcome.value

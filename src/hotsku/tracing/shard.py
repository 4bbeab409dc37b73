"""The shard, with a span for each call that decides batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from hotsku.ports import BatchReply, OrderBatch, Refusal, StepBatch, StepReply
from hotsku.shard.keys import Keys
from hotsku.shard.router import Router
from hotsku.shard.shard import WireShard
from hotsku.tracing.spans import Fact, our_tracer

# A call is for many requests, so it is the child of none: not of that one either whose task happened to open it.
_NOBODY = Context()


class TracedShard(WireShard):
    """`WireShard`, whose calls with batches of orders and of steps are spans of traces of their own."""

    def __init__(self, router: Router, keys: Keys) -> None:
        super().__init__(router, keys)
        self._tracer = our_tracer()

    async def deduct(self, deadline_ms: int, batches: Sequence[OrderBatch]) -> list[BatchReply | Refusal]:
        with self._spanned("hs_deduct", batches) as span:
            answers = await super().deduct(deadline_ms, batches)
            _tell(span, answers)
            return answers

    async def step(self, deadline_ms: int, batches: Sequence[StepBatch]) -> list[StepReply | Refusal]:
        with self._spanned("hs_step", batches) as span:
            answers = await super().step(deadline_ms, batches)
            _tell(span, answers)
            return answers

    @contextmanager
    def _spanned(self, function: str, batches: Sequence[OrderBatch | StepBatch]) -> Iterator[Span]:
        facts: dict[str, Fact] = {
            "db.system.name": "redis",
            "db.operation.name": "FCALL",
            "db.stored_procedure.name": function,
            "hotsku.shard": self.name_of(batches[0].ref),
            "hotsku.partitions": len(batches),
        }
        with self._tracer.start_as_current_span(
            f"FCALL {function}", context=_NOBODY, kind=SpanKind.CLIENT, attributes=facts
        ) as span:
            yield span


def _tell(span: Span, answers: Sequence[BatchReply | StepReply | Refusal]) -> None:
    """How many orders or steps were decided, and why other batches were not."""
    refusals = [answer for answer in answers if isinstance(answer, Exception)]
    # There is a code for each order or step of a batch.
    decided = sum(len(answer.codes) for answer in answers if not isinstance(answer, Exception))
    span.set_attribute("hotsku.batch_size", decided)
    for refusal in refusals:
        span.record_exception(refusal)
    if refusals:
        span.set_attribute("hotsku.batches_refused", len(refusals))
        span.set_status(Status(StatusCode.ERROR, type(refusals[0]).__name__))

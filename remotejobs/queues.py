"""A queue's answer, its lines read into rows; and which of several answers can know a job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from remotejobs.schedulers import SCHEDULERS
from remotejobs.schedulers.base import Row, Scheduler


class Queue(Protocol):
    """One scheduler's answer. Only a `complete` one says anything; `accounting` is complete, none, failed or unasked."""

    scheduler: str
    cluster: str
    host: str
    at: float
    lines: list[str]
    complete: bool
    accounting: str


@dataclass(frozen=True, slots=True)
class ReadQueue:
    """A queue's answer whose lines were read: for callers that derive many jobs from it."""

    scheduler: str
    cluster: str
    host: str
    at: float
    complete: bool
    accounting: str
    rows: dict[str, list[Row]]


def read_queue(queue: Queue | ReadQueue) -> ReadQueue:
    if isinstance(queue, ReadQueue):
        return queue
    known = SCHEDULERS.get(queue.scheduler)
    rows = known().read_queue(queue.lines) if known and queue.complete else {}
    return ReadQueue(
        queue.scheduler, queue.cluster, queue.host, queue.at, queue.complete, queue.accounting, rows
    )


def answer_for(
    scheduler: Scheduler, identity: Mapping[str, str], queues: Sequence[Queue | ReadQueue]
) -> ReadQueue | None:
    """The latest complete answer of the queue that can know the job."""
    able = (
        queue
        for queue in queues
        if queue.complete
        and queue.scheduler == scheduler.name
        and scheduler.answers_for(identity, queue.cluster, queue.host)
    )
    latest = max(able, key=lambda queue: queue.at, default=None)
    return None if latest is None else read_queue(latest)

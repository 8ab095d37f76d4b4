"""One request out, one answer in: what a sync asks of a server, and what it is told. (Contract; the body follows.)"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from remotejobs.records import JobKey, JobRecord


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """An app whose records are asked for, from a cursor on (None: everything)."""

    app: str
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    uuid: str
    app: str
    key: JobKey


@dataclass(frozen=True, slots=True)
class Submission:
    """A new job. `document` is the JSON text of its settings (see settings.py), without a jobid."""

    uuid: str
    app: str
    hash: str
    scheduler: str
    document: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class Resubmission:
    """The kept script of `key` once more, as the next n of the same hash."""

    uuid: str
    app: str
    key: JobKey
    asked_at: float


@dataclass(slots=True)
class Request:
    sources: list[SourceRequest]
    actions: list[Cancel | Submission | Resubmission] = field(default_factory=list)
    budget: float = 60.0  # seconds that the server may take


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a source's records that arrived whole, and the cursor to store in the transaction that stores it."""

    name: str
    records: list[JobRecord]
    cursor: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one action: state is done, refused, unknown (not settled yet; send the same uuid again) or not_started."""

    uuid: str
    state: str
    sentence: str
    key: JobKey | None = None  # of a submission: what it got
    scheduler_id: str = ""
    evidence: str = ""


class SourceAnswer(Protocol):
    app: str
    error: str  # "" or a sentence: this folder could not be read; nothing of it counts
    unreadable: int  # names whose content could not be read whole: asked for again next time
    skipped: int  # names that are no valid keys or records
    total: int  # records in chunks()

    def chunks(self) -> Iterator[Chunk]: ...  # lazily, from the spooled answer


class Queue(Protocol):
    """The last queue answer of one scheduler on that server."""

    scheduler: str
    cluster: str
    host: str
    complete: bool
    at: float  # server's clock


class Answer(Protocol):
    clock: float  # server's clock when it began
    skew: float  # server's clock minus ours, seconds
    host: str
    sources: dict[str, SourceAnswer]
    queues: list[Queue]
    outcomes: dict[str, Outcome]  # by uuid; an action that is missing here is unknown

    def close(self) -> None: ...


def exchange(shell: "object", request: Request, progress: Callable[[int], None] | None = None) -> Answer:
    """Raises LoginError, Unreachable, TimedOut, ServerProblem, AnswerBroken. `progress` gets bytes received."""
    raise NotImplementedError


# remotejobs/states.py:  derive(record: JobRecord, queues: list[Queue], now: float) -> JobStatus   (pure; now = server's clock)
# and                    is_open(record, status, now) -> bool   (not final, or still watched)

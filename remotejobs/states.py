"""What is known of a job: one pure function of its facts and of a queue's answer.

Who is believed, for the highest attempt that anybody speaks of:
1. a queue that lists it as not ended (an exit file beside it is of a requeue, or of an end that is not over yet);
2. accounting, in this answer or kept as a fact: it decides the state, the exit file the exit code;
3. a queue that lists it as ended;
4. the proof that our cancel took it away, unless no accounting will ever say which came first, and it ended well;
5. its exit file; 6. having gone without a trace: settling, later lost.
What was not asked, was cut, or is another cluster's says nothing: then the facts alone decide, and claim less.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from remotejobs.queues import Queue, ReadQueue, answer_for, read_queue
from remotejobs.records import Evidence, JobRecord, JobState, JobStatus
from remotejobs.schedulers import SCHEDULERS
from remotejobs.schedulers.base import Row, Scheduler, whole

__all__ = [
    "GRACE",
    "LOST_WATCH",
    "SETTLING",
    "Queue",
    "ReadQueue",
    "derive",
    "is_open",
    "read_queue",
    "weight",
]

SETTLING = 120.0  # seconds from its leaving the queue until an outcome that nobody tells makes it lost
GRACE = 15 * 60.0  # seconds for which a job that was preempted, or lost its node, may come back
LOST_WATCH = 7 * 86400.0  # seconds for which a lost job is asked about
_RETURNS = frozenset({"preempted", "node", "boot"})

_WORD = re.compile(r"[a-z_]{1,20}\Z")
_FACT = re.compile(r"(start|exit|sched|gone|cancel)\.([1-9][0-9]{0,4})\Z")
_RANK = {
    JobState.SUBMITTED: 0,
    JobState.QUEUED: 1,
    JobState.HELD: 1,
    JobState.UNKNOWN: 1,
    JobState.FINISHING: 3,
}
_STRENGTH = [Evidence.INFERRED, Evidence.ACTION, Evidence.QUEUE, Evidence.EXIT_FILE, Evidence.ACCOUNTING]


def derive(
    record: JobRecord, queues: Sequence[Queue | ReadQueue], now: float, last: JobStatus | None = None
) -> JobStatus:
    """The status of a job at `now` (the server's clock). It never raises, whatever the facts and lines say.

    `last` is what was known before, if anything: it stays where this answer says nothing about the job.
    """
    seen = _look(record, queues)
    status = _judge(seen, now, last)
    if last is None:
        return status
    if status.settling and not last.state.is_final and last.attempt == status.attempt:
        return replace(status, state=last.state, reason=last.reason, raw=last.raw)
    return status if seen.is_told or _says_more(status, last) else last


def is_open(record: JobRecord, status: JobStatus, now: float) -> bool:
    """Whether the job still has to be asked about: it has not ended, may come back, or its last witness is missing."""
    if not status.state.is_final:
        return True
    since = status.ended if status.ended is not None else status.updated
    age = 0.0 if since is None else now - since
    if status.state is JobState.LOST:
        return age < LOST_WATCH
    if status.reason in _RETURNS:
        return age < GRACE
    known = SCHEDULERS.get(record.fact("id").get("scheduler", ""))
    if record.fact("sched", status.attempt) or status.evidence is Evidence.ACCOUNTING:
        return False
    return known is not None and known.requeues and age < LOST_WATCH


def weight(status: JobStatus) -> int:
    """How much it says, from 0 to 249: a later attempt more than an earlier one, an end more than a beginning."""
    return min(status.attempt, 9) * 25 + _rank(status.state) * 5 + _STRENGTH.index(status.evidence)


def _says_more(status: JobStatus, last: JobStatus) -> bool:
    if status.attempt != last.attempt:
        return status.attempt > last.attempt
    if status.state.is_final and last.state.is_final:
        return _STRENGTH.index(status.evidence) >= _STRENGTH.index(last.evidence)
    return _rank(status.state) > _rank(last.state)


def _rank(state: JobState) -> int:
    return 4 if state.is_final else _RANK.get(state, 2)


@dataclass(slots=True)
class _Seen:
    """All that speaks of one job: its facts, and the rows of the one answer that can know it."""

    record: JobRecord
    scheduler: Scheduler | None
    answer: ReadQueue | None
    rows: list[Row]
    absent: Row | None
    attempt: int

    def row(self, evidence: Evidence, *, final: bool) -> Row | None:
        for row in self.rows:
            if (row.attempt, row.evidence, row.state.is_final) == (self.attempt, evidence, final):
                return row
        return None

    def time(self, fact: str) -> float | None:
        """When that fact of this attempt was made; None also if it has no time."""
        found = whole(self.record.fact(fact, self.attempt).get("time"))
        return None if found is None else float(found)

    def has(self, fact: str) -> bool:
        return f"{fact}.{self.attempt}" in self.record.facts

    @property
    def is_told(self) -> bool:
        """Whether the answer speaks of this job at all."""
        return bool(self.rows) or self.absent is not None

    @property
    def is_without_accounting(self) -> bool:
        """Whether nobody will ever tell more than the exit file does."""
        if self.scheduler is None:
            return False
        given_up = self.record.fact("sched", self.attempt).get("source") == "none"
        has_none = self.answer is not None and self.answer.accounting == "none"
        return given_up or has_none or not self.scheduler.requeues

    @property
    def has_both_notes(self) -> bool:
        """Whether the wrapper noted when it started and when it ended."""
        return self.time("start") is not None and self.time("exit") is not None

    @property
    def identity(self) -> dict[str, str]:
        return self.record.fact("id")

    @property
    def exit_code(self) -> int | None:
        return whole(self.record.fact("exit", self.attempt).get("code"), 255)


def _look(record: JobRecord, queues: Sequence[Queue | ReadQueue]) -> _Seen:
    identity = record.fact("id")
    known = SCHEDULERS.get(identity.get("scheduler", ""))
    scheduler = known() if known else None
    answer = answer_for(scheduler, identity, queues) if scheduler else None
    rows: list[Row] = []
    if scheduler and answer:
        found = answer.rows.get(scheduler.row_key(record.key, identity), [])
        rows = [row for row in found if scheduler.is_same(identity, row)]
    attempts = [1, *_attempts(record.facts), *(row.attempt for row in rows if not row.absent)]
    absent = next((row for row in rows if row.absent), None)
    present = [row for row in rows if not row.absent]
    return _Seen(record, scheduler, answer, present, absent, max(attempts))


def _attempts(names: Iterable[str]) -> list[int]:
    return [int(match[2]) for match in map(_FACT.match, names) if match]


def _judge(seen: _Seen, now: float, last: JobStatus | None) -> JobStatus:
    live = next((row for row in seen.rows if row.listed and row.attempt == seen.attempt), None)
    # What never comes back has ended with its exit file, whatever children it left behind.
    if live and (seen.scheduler is None or seen.scheduler.requeues or seen.exit_code is None):
        return _of_row(seen, live)
    ending = seen.row(Evidence.ACCOUNTING, final=True) or _kept(seen) or seen.row(Evidence.QUEUE, final=True)
    if ending:
        return _of_row(seen, ending)
    if seen.has("cancel") and not (seen.exit_code == 0 and seen.is_without_accounting):
        return _status(seen, JobState.CANCELLED, Evidence.ACTION, reason="by_user", exit_code=seen.exit_code)
    if seen.exit_code is not None:
        return _of_exit(seen, seen.exit_code)
    since = seen.time("gone")
    if since is None and seen.absent:
        since = _left_before(seen, last) or now
    return _before_the_end(seen) if since is None else _of_gone(seen, since, now)


def _left_before(seen: _Seen, last: JobStatus | None) -> float | None:
    """When an earlier answer first lacked it, where the server could not note that (a registry that nobody may write)."""
    if last is None or last.attempt != seen.attempt:
        return None
    return last.updated if last.settling or last.state is JobState.LOST else None


def _kept(seen: _Seen) -> Row | None:
    """The ending that a `sched` fact keeps, if its line is of this job and this attempt."""
    fact = seen.record.fact("sched", seen.attempt)
    if seen.scheduler is None or fact.get("source") not in ("accounting", "queue"):
        return None
    row = seen.scheduler.read_ending(fact.get("line", ""))
    if row is None or row.attempt != seen.attempt or not seen.scheduler.is_same(seen.identity, row):
        return None
    return row


def _of_row(seen: _Seen, row: Row) -> JobStatus:
    reason = row.reason
    if row.state is JobState.CANCELLED and seen.has("cancel"):
        reason = "by_user"
    code = None
    if row.state.is_final:
        code = row.exit_code if seen.exit_code is None else seen.exit_code
    return _status(seen, row.state, row.evidence, row=row, reason=reason, exit_code=code)


def _of_exit(seen: _Seen, code: int) -> JobStatus:
    """An exit file alone. Where jobs are requeued it is the end only if the queue is known to have let the job go."""
    left = seen.absent is not None or seen.has("gone") or seen.has("sched") or seen.has("cancel")
    if seen.scheduler is None or (seen.scheduler.requeues and not left):
        return _status(seen, JobState.FINISHING, Evidence.EXIT_FILE, exit_code=code)
    if code == 0:
        return _status(seen, JobState.DONE, Evidence.EXIT_FILE, exit_code=0)
    reason = "signal" if 128 < code <= 192 else "exit_code"
    return _status(seen, JobState.FAILED, Evidence.EXIT_FILE, reason=reason, exit_code=code)


def _of_gone(seen: _Seen, since: float, now: float) -> JobStatus:
    """It left the queue, and nobody says how. An exit file or accounting may still be on their way."""
    noted = seen.record.fact("gone", seen.attempt).get("reason", "")
    reason = (seen.absent.reason if seen.absent else "") or (noted if _WORD.match(noted) else "")
    # Lost is said by an answer of queue and accounting that still lacks it; where nobody could look again, it is not
    # known, for as long as it would be asked about. A restarted machine writes no exit file any more.
    looked = (
        seen.absent is not None and seen.answer is not None and seen.answer.accounting in ("complete", "none")
    )
    if reason != "rebooted" and now - since < (SETTLING if looked else LOST_WATCH):
        return replace(_before_the_end(seen), settling=True, updated=since)
    return replace(
        _status(seen, JobState.LOST, Evidence.INFERRED, reason=reason or "no_trace"), updated=since
    )


def _before_the_end(seen: _Seen) -> JobStatus:
    """By facts alone. An id says that the job was submitted, and no more: not even that it still waits."""
    if seen.has("start"):
        return _status(seen, JobState.RUNNING, Evidence.INFERRED)
    return _status(seen, JobState.SUBMITTED, Evidence.ACTION)


def _status(
    seen: _Seen,
    state: JobState,
    evidence: Evidence,
    *,
    row: Row | None = None,
    reason: str = "",
    exit_code: int | None = None,
) -> JobStatus:
    row = row or Row("", state, evidence)
    waits = state in (JobState.SUBMITTED, JobState.QUEUED, JobState.HELD)
    started = None if waits else _first(seen.time("start"), row.started)
    ended = _first(seen.time("exit"), row.ended, seen.time("cancel")) if state.is_final else None
    # The node's clock and the scheduler's may differ: a duration has both its ends by one of them.
    if state.is_final and row.started is not None and row.ended is not None and not seen.has_both_notes:
        started, ended = float(row.started), float(row.ended)
    return JobStatus(
        state,
        evidence,
        attempt=seen.attempt,
        reason=reason,
        raw=row.raw,
        exit_code=exit_code,
        started=started,
        ended=ended,
        updated=_first(
            ended, seen.time("exit"), started, row.submitted, whole(seen.identity.get("submitted"))
        ),
        nodes=row.nodes or ("" if waits else seen.record.fact("start", seen.attempt).get("host", "")),
        partition=row.partition,
        limit=row.limit,
        expected_start=_first(row.expected_start),
    )


def _first(*times: float | None) -> float | None:
    return next((float(time) for time in times if time is not None), None)

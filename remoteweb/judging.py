"""What an answer makes of a job's row: its state, whether it is watched, its group, and the event if that
changed.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sqlalchemy import bindparam, func, select

from remotejobs.queues import Queue, ReadQueue, read_queue
from remotejobs.states import derive, is_open
from remoteweb.database import db, table_of
from remoteweb.groups import group_of
from remoteweb.models import Event, Job
from remoteweb.rows import RowState, record_of, status_of, take_status

_job = table_of(Job).c
_NEWEST = (
    select(_job.hash, func.max(_job.n))
    .where(_job.source_id == bindparam("source"), _job.hash.in_(bindparam("hashes", expanding=True)))
    .group_by(_job.hash)
)

# A row, and what it was before; None: it is new.
Change = tuple[Job, RowState | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What all the jobs of one answer are judged by: its queues, and the server's clock when it was made."""

    queues: list[ReadQueue]
    clock: float

    @classmethod
    def of(cls, queues: Iterable[Queue], clock: float) -> Self:
        """The lines are read once, for all the jobs."""
        return cls([read_queue(queue) for queue in queues], clock)


def judge(row: Job, seen: Seen, newest: dict[str, int], *, is_new: bool = False) -> bool:
    """Brings the row's columns up to date. True: one of them is another now."""
    if not row.key:
        return False
    record = record_of(row)
    known = None if is_new else status_of(row)
    status = derive(record, seen.queues, seen.clock, known)
    before = row.open, row.group
    old = RowState.of(row) if status != known else None
    if old is not None:
        take_status(row, status)
    row.open = is_open(record, status, seen.clock)
    place(row, seen, newest)
    return before != (row.open, row.group) or (old is not None and RowState.of(row) != old)


def place(row: Job, seen: Seen, newest: dict[str, int]) -> None:
    """`newest` is the highest n of each work: a failure that was run again asks for nobody."""
    replaced = row.n < newest.get(row.hash, 0)
    row.group = group_of(row.state, settling=row.settling, ended=row.ended, replaced=replaced, now=seen.clock)


def newest_runs(source_id: int, hashes: Iterable[str]) -> dict[str, int]:
    found = db.session.execute(_NEWEST, {"source": source_id, "hashes": list(set(hashes))})
    return {work: int(n) for work, n in found}


def record_changes(changed: Iterable[Change]) -> None:
    """A revision more for each changed row, and an event where the state (or the attempt) is another."""
    now = time.time()
    for row, old in changed:
        row.revision = row.revision + 1 if old else 1
    db.session.flush()  # new rows get their ids
    db.session.add_all(
        Event(
            job_id=row.id,
            seen_at=now,
            old_state=old.state if old else "",
            state=row.state,
            reason=row.reason,
            raw=row.raw,
            evidence=row.evidence,
            attempt=row.attempt,
        )
        for row, old in changed
        if old is None or (old.state, old.attempt) != (row.state, row.attempt)
    )

"""A server's records and queue answers into the tables: small transactions, and only rows that changed are
written.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from remotejobs.answer import Chunk
from remotejobs.records import JobRecord
from remotejobs.states import Queue, ReadQueue, derive, is_open, read_queue
from remoteweb import changes, leases
from remoteweb.database import begin_writing, db
from remoteweb.groups import ASKS_FOR_SECONDS, Group, group_of
from remoteweb.leases import Lease
from remoteweb.models import Event, Job, Source
from remoteweb.rows import RowState, record_of, status_of, take_over, take_status

# What one transaction writes. While it runs, taps wait: at this size some hundredths of a second.
SLICE = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """What all the jobs of one answer are judged by: its queues, and the server's clock when it was made."""

    queues: list[ReadQueue]
    clock: float

    @classmethod
    def of(cls, queues: Iterable[Queue], clock: float) -> Self:
        """The lines are read once, for all the jobs."""
        return cls([read_queue(queue) for queue in queues], clock)


def store(lease: Lease, source_id: int, chunk: Chunk, seen: Seen) -> Iterator[tuple[int, int]]:
    """Writes a chunk; gives (records, changed rows) after each transaction.

    The cursor goes into the last one, so it never speaks of what has not been written.
    """
    records = chunk.records
    for start in range(0, max(len(records), 1), SLICE):
        part = records[start : start + SLICE]
        is_last = start + SLICE >= len(records)
        begin_writing()
        leases.still_ours(lease)
        changed = _write(source_id, part, seen)
        if is_last:
            _keep_cursor(source_id, chunk.cursor)
        changes.publish(changed)
        db.session.commit()
        db.session.expunge_all()
        yield len(part), len(changed)


def look_again(lease: Lease, source_id: int, seen: Seen) -> int:
    """Judge the open jobs by this answer's queues, and let old failures go. Gives the number of rows that
    changed.

    It looks without the write lock, since mostly nothing has changed, and writes what did under the lock.
    """
    total, last_id = 0, 0
    while True:
        rows = _watched(source_id, seen.clock, last_id)
        if not rows:
            break
        last_id = rows[-1].id
        with db.session.no_autoflush:
            ids = [row.id for row in rows if _judge(row, seen)]
        db.session.rollback()
        db.session.expunge_all()
        if ids:
            total += _judge_under_the_lock(lease, source_id, ids, seen)
    db.session.rollback()
    return total


def _watched(source_id: int, clock: float, after: int) -> list[Job]:
    old_failure = db.and_(Job.group == Group.NEEDS_YOU, Job.ended < clock - ASKS_FOR_SECONDS)
    return list(
        db.session.scalars(
            db.select(Job)
            .where(Job.source_id == source_id, Job.id > after, db.or_(Job.open, old_failure))
            .order_by(Job.id)
            .limit(SLICE)
        )
    )


def _judge_under_the_lock(lease: Lease, source_id: int, ids: list[int], seen: Seen) -> int:
    begin_writing()
    leases.still_ours(lease)
    rows = list(db.session.scalars(db.select(Job).where(Job.id.in_(ids))))
    before = [RowState.of(row) for row in rows]
    changed = [(row, old) for row, old in zip(rows, before, strict=True) if _judge(row, seen)]
    _record_changes(changed)
    changes.publish([row for row, _ in changed])
    db.session.commit()
    db.session.expunge_all()
    return len(changed)


def _judge(row: Job, seen: Seen, *, is_new: bool = False) -> bool:
    """Brings the row's columns up to date. True: one of them is another now."""
    if not row.key:
        return False
    old = RowState.of(row)
    record = record_of(row)
    status = derive(record, seen.queues, seen.clock, None if is_new else status_of(row))
    take_status(row, status)
    row.open = is_open(record, status, seen.clock)
    _place(row, seen)
    return RowState.of(row) != old


def _place(row: Job, seen: Seen) -> None:
    row.group = group_of(
        row.state, settling=row.settling, ended=row.ended, replaced=_is_replaced(row), now=seen.clock
    )


def _is_replaced(row: Job) -> bool:
    """A later run of the same work is known. Only failures are asked about it."""
    if row.state not in ("failed", "lost"):
        return False
    later = db.select(Job.id).where(Job.source_id == row.source_id, Job.hash == row.hash, Job.n > row.n)
    return db.session.scalar(later.limit(1)) is not None


def _write(source_id: int, records: Sequence[JobRecord], seen: Seen) -> list[Job]:
    source = db.session.get_one(Source, source_id)
    known = _known_rows(source_id, [str(record.key) for record in records])
    touched: list[tuple[Job, RowState | None]] = []
    for record in records:
        touched.append(take_over(source, record, known.setdefault(str(record.key), [])))
    db.session.flush()  # so that all the runs of a work can be counted below
    changed: list[tuple[Job, RowState | None]] = []
    for row, old in _each_once(touched):
        _judge(row, seen, is_new=old is None)
        if old is None or RowState.of(row) != old:
            changed.append((row, old))
    changed += _step_aside([row for row, old in changed if old is None], {row.id for row, _ in changed}, seen)
    _record_changes(changed)
    return [row for row, _ in changed]


def _known_rows(source_id: int, keys: list[str]) -> dict[str, list[Job]]:
    known: dict[str, list[Job]] = {}
    query = db.select(Job).where(Job.source_id == source_id, Job.key.in_(keys)).order_by(Job.id)
    for row in db.session.scalars(query):
        known.setdefault(row.key or "", []).append(row)
    return known


def _each_once(touched: list[tuple[Job, RowState | None]]) -> list[tuple[Job, RowState | None]]:
    """A key may stand twice in one part (a batch with late facts): its row counts as it was before the first."""
    first: dict[int, tuple[Job, RowState | None]] = {}
    for row, old in touched:
        first.setdefault(row.id, (row, old))
    return list(first.values())


def _step_aside(new: list[Job], seen_ids: set[int], seen: Seen) -> list[tuple[Job, RowState | None]]:
    """Earlier failures of work that was run again ask for nobody any more."""
    if not new:
        return []
    hashes = {row.hash for row in new}
    query = db.select(Job).where(
        Job.source_id == new[0].source_id,
        Job.hash.in_(hashes),
        Job.group == Group.NEEDS_YOU,
        Job.id.not_in(seen_ids),
    )
    aside: list[tuple[Job, RowState | None]] = []
    for row in db.session.scalars(query):
        old = RowState.of(row)
        row.group = group_of(
            row.state, settling=row.settling, ended=row.ended, replaced=_is_replaced(row), now=seen.clock
        )
        if RowState.of(row) != old:
            aside.append((row, old))
    return aside


def _record_changes(changed: Iterable[tuple[Job, RowState | None]]) -> None:
    """A revision more for each changed row, and an event where the state (or the attempt) is another."""
    now = time.time()
    for row, old in changed:
        row.revision = row.revision + 1 if old else 1
        if old is None or (old.state, old.attempt) != (row.state, row.attempt):
            db.session.add(
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
            )


def _keep_cursor(source_id: int, cursor: str) -> None:
    db.session.execute(
        db.update(Source)
        .where(Source.id == source_id, db.or_(Source.cursor.is_(None), Source.cursor != cursor))
        .values(cursor=cursor)
        .execution_options(synchronize_session=False)
    )

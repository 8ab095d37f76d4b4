"""A server's records and queues into the tables: small transactions, and only rows that changed are written."""

from collections.abc import Iterator, Sequence

from sqlalchemy import and_, bindparam, select

from remotejobs.answer import Chunk
from remotejobs.records import JobRecord
from remoteweb import changes, leases, sources
from remoteweb.database import begin_writing, db, table_of
from remoteweb.groups import ASKS_FOR_SECONDS, Group
from remoteweb.judging import Change, Seen, judge, newest_runs, place, record_changes
from remoteweb.leases import Lease
from remoteweb.models import Job, Source
from remoteweb.rows import RowState, take_over

# What one transaction writes. While it runs, taps wait: at this size some tenths of a second at most.
SLICE = 500

# Two halves, each of which walks an index: as one condition, SQLite would read the whole table at each sync.
_job = table_of(Job).c
_OF_SOURCE = select(_job.id).where(_job.source_id == bindparam("source"))
_OLD_FAILURE = and_(_job.group == Group.NEEDS_YOU, _job.ended < bindparam("before"))
_ROWS = select(Job).where(Job.id.in_(bindparam("ids", expanding=True))).order_by(Job.id)
_WATCHED = _OF_SOURCE.where(_job.open).union(_OF_SOURCE.where(_OLD_FAILURE))


def store(lease: Lease, source_id: int, chunk: Chunk, seen: Seen) -> Iterator[tuple[int, int]]:
    """Writes a chunk; gives (records, changed rows) after each transaction.

    The cursor goes into the last one, so it never speaks of what has not been written.
    """
    records = chunk.records
    for start in range(0, max(len(records), 1), SLICE):
        part = records[start : start + SLICE]
        begin_writing()
        leases.still_ours(lease)
        with db.session.no_autoflush:
            changed = _write(source_id, part, seen)
        if start + SLICE >= len(records):
            _keep_cursor(source_id, chunk.cursor)
        changes.publish(changed)
        db.session.commit()
        db.session.expunge_all()
        yield len(part), len(changed)


def look_again(lease: Lease, source_id: int, seen: Seen) -> int:
    """Judge the open jobs by this answer's queues, and let old failures go. Gives how many rows changed.

    It looks without the write lock, since mostly nothing has changed, and writes what did under the lock.
    """
    total = 0
    watched = _watched(source_id, seen.clock)
    for start in range(0, len(watched), SLICE):
        rows, newest = _rows(source_id, watched[start : start + SLICE])
        with db.session.no_autoflush:
            ids = [row.id for row in rows if judge(row, seen, newest)]
        db.session.rollback()
        db.session.expunge_all()
        if ids:
            total += _judge_under_the_lock(lease, source_id, ids, seen)
    db.session.rollback()
    return total


def _watched(source_id: int, clock: float) -> list[int]:
    asked = {"source": source_id, "before": clock - ASKS_FOR_SECONDS}
    return sorted(db.session.scalars(_WATCHED, asked))


def _rows(source_id: int, ids: list[int]) -> tuple[Sequence[Job], dict[str, int]]:
    rows = db.session.scalars(_ROWS, {"ids": ids}).all()
    return rows, newest_runs(source_id, [row.hash for row in rows])


def _judge_under_the_lock(lease: Lease, source_id: int, ids: list[int], seen: Seen) -> int:
    begin_writing()
    leases.still_ours(lease)
    rows, newest = _rows(source_id, ids)
    before = [RowState.of(row) for row in rows]
    with db.session.no_autoflush:
        changed = [(row, old) for row, old in zip(rows, before, strict=True) if judge(row, seen, newest)]
    record_changes(changed)
    changes.publish([row for row, _ in changed])
    db.session.commit()
    db.session.expunge_all()
    return len(changed)


def _write(source_id: int, records: Sequence[JobRecord], seen: Seen) -> list[Job]:
    source = sources.still_known(source_id)
    known = _known_rows(source_id, [str(record.key) for record in records])
    newest = _newest_with(source_id, records)
    touched = [take_over(source, record, known.setdefault(str(record.key), [])) for record in records]
    changed: list[Change] = []
    for row, old in _each_once(touched):
        judge(row, seen, newest, is_new=old is None)
        if old is None or RowState.of(row) != old:
            changed.append((row, old))
    changed += _step_aside(source_id, changed, seen, newest)
    record_changes(changed)
    return [row for row, _ in changed]


def _known_rows(source_id: int, keys: list[str]) -> dict[str, list[Job]]:
    known: dict[str, list[Job]] = {}
    query = db.select(Job).where(Job.source_id == source_id, Job.key.in_(keys)).order_by(Job.id)
    for row in db.session.scalars(query):
        known.setdefault(row.key or "", []).append(row)
    return known


def _newest_with(source_id: int, records: Sequence[JobRecord]) -> dict[str, int]:
    """The highest n of each work, these records included."""
    newest = newest_runs(source_id, [record.key.hash for record in records])
    for record in records:
        newest[record.key.hash] = max(newest.get(record.key.hash, 0), record.key.n)
    return newest


def _each_once(touched: list[Change]) -> list[Change]:
    """A key may stand twice in a part (a batch with late facts): its row counts as before the first."""
    first: dict[int, Change] = {}
    for row, old in touched:
        first.setdefault(id(row), (row, old))
    return list(first.values())


def _step_aside(source_id: int, changed: list[Change], seen: Seen, newest: dict[str, int]) -> list[Change]:
    """Earlier failures of work that was run again ask for nobody any more."""
    again = {row.hash for row, old in changed if old is None and row.n > 1}
    if not again:
        return []
    query = db.select(Job).where(
        Job.source_id == source_id, Job.hash.in_(again), Job.group == Group.NEEDS_YOU, Job.key.is_not(None)
    )
    here = {id(row) for row, _ in changed}
    aside: list[Change] = []
    for row in db.session.scalars(query):
        old = RowState.of(row)
        place(row, seen, newest)
        if id(row) not in here and RowState.of(row) != old:
            aside.append((row, old))
    return aside


def _keep_cursor(source_id: int, cursor: str) -> None:
    db.session.execute(
        db.update(Source)
        .where(Source.id == source_id, db.or_(Source.cursor.is_(None), Source.cursor != cursor))
        .values(cursor=cursor)
        .execution_options(synchronize_session=False)
    )

"""A job's row and the record that it stands for: from one into the other, and whether anything is different."""

from typing import Any, NamedTuple, Self

import msgspec

from remotejobs.records import Evidence, JobKey, JobRecord, JobState, JobStatus
from remoteweb.database import db
from remoteweb.models import Job, Source
from remoteweb.untrusted import document, line, moment, whole


class RowState(NamedTuple):
    """Every column of a job that a sync may change.

    Two that are equal mean: nothing to write, nothing to show.
    """

    incarnation: str
    name: str
    scheduler: str
    cluster: str
    scheduler_id: str
    submitted: float | None
    state: str
    reason: str
    raw: str
    evidence: str
    attempt: int
    settling: bool
    exit_code: int | None
    started: float | None
    ended: float | None
    updated: float | None
    expected_start: float | None
    partition: str
    nodes: str
    limit: int | None
    cleaned: bool
    open: bool
    group: int
    settings: str
    facts: str

    @classmethod
    def of(cls, row: Job) -> Self:
        return cls(*(getattr(row, name) for name in cls._fields))


def take_over(source: Source, record: JobRecord, rows: list[Job]) -> tuple[Job, RowState | None]:
    """The record into its row among `rows` (all of this key), or into a new one.

    Gives the row, and what it was before.
    """
    incarnation = line(record.fact("id").get("incarnation"), 64)
    row = _row_of(incarnation, rows)
    if row is None:
        row = _new_row(source, record.key, incarnation)
        rows.append(row)
        _fill(row, record)
        db.session.add(row)
        return row, None
    old = RowState.of(row)
    merged = record_of(row).union(record)
    row.incarnation = row.incarnation or incarnation
    _fill(row, merged)
    return row, old


def _row_of(incarnation: str, rows: list[Job]) -> Job | None:
    """Late facts come without an id, and an id may come after them: both belong to the one row of their key.

    Only another incarnation (a folder that was made anew and counts from 1 again) is another job.
    """
    if not incarnation:
        return rows[-1] if rows else None
    same = [row for row in rows if row.incarnation == incarnation]
    return next(iter(same or [row for row in rows if not row.incarnation]), None)


def _new_row(source: Source, key: JobKey, incarnation: str) -> Job:
    return Job(
        server_id=source.server_id,
        owner_id=source.server.owner_id,
        source_id=source.id,
        key=str(key),
        incarnation=incarnation,
        hash=key.hash,
        n=key.n,
        state=JobState.SUBMITTED.value,
        evidence=Evidence.INFERRED.value,
        reason="",
        raw="",
        attempt=1,
        settling=False,
        partition="",
        nodes="",
        open=True,
        group=2,
        revision=0,
        change=0,
    )


def _fill(row: Job, record: JobRecord) -> None:
    """The columns that come from the record alone."""
    identity = record.fact("id")
    row.settings, row.facts = document(record.settings), document(record.facts)
    row.name = _name(record)
    row.scheduler = line(identity.get("scheduler") or record.settings.get("scheduler"), 40)
    row.cluster = line(identity.get("cluster") or identity.get("host"), 100)
    row.scheduler_id = line(identity.get("id"), 100)
    row.submitted = _time(identity.get("submitted"))
    row.cleaned = "cleaned" in record.facts


def _name(record: JobRecord) -> str:
    settings = record.settings
    command = settings.get("command")
    of_command = line(command, 400).rsplit("/", 1)[-1] if isinstance(command, str) else ""
    return line(settings.get("name"), 200) or line(of_command, 200) or str(record.key)


def _time(text: str | None) -> float | None:
    try:
        return moment(float(text)) if text else None
    except ValueError:
        return None


def take_status(row: Job, status: JobStatus) -> None:
    """The columns that are derived from facts and queue."""
    row.state, row.evidence = status.state.value, status.evidence.value
    row.reason, row.raw = line(status.reason, 100), line(status.raw, 300)
    row.attempt = whole(status.attempt, 1) or 1
    row.settling = status.settling
    row.exit_code = whole(status.exit_code)
    row.started, row.ended = moment(status.started), moment(status.ended)
    row.updated, row.expected_start = moment(status.updated), moment(status.expected_start)
    row.partition, row.nodes = line(status.partition, 100), line(status.nodes, 300)
    row.limit = whole(status.limit, 0)


def status_of(row: Job) -> JobStatus:
    """What was known of it before."""
    return JobStatus(
        JobState(row.state),
        Evidence(row.evidence),
        attempt=row.attempt,
        reason=row.reason,
        raw=row.raw,
        exit_code=row.exit_code,
        started=row.started,
        ended=row.ended,
        updated=row.updated,
        settling=row.settling,
        nodes=row.nodes,
        partition=row.partition,
        limit=row.limit,
        expected_start=row.expected_start,
    )


def record_of(row: Job) -> JobRecord:
    return JobRecord(JobKey.parse(row.key or ""), _dict(row.settings), _dict(row.facts))


def _dict(text: str) -> dict[str, Any]:
    value = msgspec.json.decode(text)
    return value if isinstance(value, dict) else {}

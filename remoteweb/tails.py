"""The end of what a job has printed: asked for with a tap, read with the next sync, gone again after ten minutes.

It is no action: read twice, nothing has happened twice. So nobody claims it, and a sync that failed leaves it waiting.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, Text, UniqueConstraint, literal_column
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from remotejobs.answer import Answer, LogTail
from remoteweb import audit
from remoteweb.database import Model, begin_writing, db
from remoteweb.models import Job, Source

STREAMS = ("stdout", "stderr")
BYTES = 16_384  # of the end of each; a phone reads no more
KEPT_SECONDS = 600.0  # after the tap; then it is read anew, or not at all
WAITED_SECONDS = 120.0  # for the sync that brings it
AT_ONCE = 10  # jobs, in one exchange
_LARGEST = 2**63 - 1


class Tail(Model):
    """One stream of one job. `read_at` None: the next sync reads it."""

    __tablename__ = "tail"
    __table_args__ = (UniqueConstraint("job_id", "stream"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    stream: Mapped[str] = mapped_column(Text)  # of STREAMS
    asked_at: Mapped[float] = mapped_column(Float, index=True)
    read_at: Mapped[float | None] = mapped_column(Float)
    size: Mapped[int] = mapped_column(BigInteger, default=0)  # of the whole file, bytes
    text: Mapped[str] = mapped_column(Text, default="")
    sentence: Mapped[str] = mapped_column(Text, default="")  # why there is nothing


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sync asks for: as a question of the exchange, and where the answer belongs."""

    job_id: int
    app: str
    key: str
    asked_at: float

    @property
    def questions(self) -> list[tuple[str, ...]]:
        return [("log", self.app, self.key, stream, str(BYTES)) for stream in STREAMS]


def ask(job: Job) -> None:
    """Both streams, anew. What was read of it before goes."""
    begin_writing()
    db.session.execute(db.delete(Tail).where(Tail.job_id == job.id))
    now = time.time()
    db.session.add_all(Tail(job_id=job.id, stream=stream, asked_at=now) for stream in STREAMS)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()  # on PostgreSQL another tap was quicker, or the job is gone
        return
    audit.note(
        "asked for the output of", job.name, f"job {job.scheduler_id or job.key} on {job.server.label}"
    )
    db.session.commit()


def of(job_id: int) -> Sequence[Tail]:
    """In the order of STREAMS; none where nobody has asked lately."""
    recent = Tail.asked_at > time.time() - KEPT_SECONDS
    found = db.session.scalars(db.select(Tail).where(Tail.job_id == job_id, recent)).all()
    return sorted(found, key=lambda tail: STREAMS.index(tail.stream))


def is_awaited(tails: Sequence[Tail]) -> bool:
    earliest = since()
    return any(tail.read_at is None and tail.asked_at > earliest for tail in tails)


def since() -> float:
    """When those that still wait were asked for at the earliest."""
    return time.time() - WAITED_SECONDS


_WAITS = db.and_(Tail.read_at.is_(None), Tail.stream == STREAMS[0], Tail.asked_at > db.bindparam("since"))
IS_ANY_WAITING = db.select(Tail.id).where(_WAITS).exists()
# Without the "+", SQLite would begin with all jobs of the sources. Of others' taps there may be thousands.
_OF_SOURCES = literal_column("+job.source_id", Integer)
_WAITING = (
    db.select(Job.id, Source.app, Job.key, Tail.asked_at)
    .select_from(Tail)
    .join(Job, Job.id == Tail.job_id)
    .join(Source, Source.id == _OF_SOURCES)
    .where(_WAITS)
    .where(_OF_SOURCES.in_(db.bindparam("sources", expanding=True)), Job.key.is_not(None))
    .order_by(Tail.asked_at)
    .limit(db.bindparam("most", type_=Integer))
)


def waiting(source_ids: Sequence[int]) -> list[Wanted]:
    """Those that were tapped first, no more than one exchange asks for."""
    asked = {"since": since(), "sources": source_ids}
    # An answer names the key alone: of two apps that have the same one, the second waits for the next sync.
    asked["most"] = AT_ONCE * len(source_ids)
    by_key: dict[str, Wanted] = {}
    for row in db.session.execute(_WAITING, asked):
        by_key.setdefault(row.key, Wanted(row.id, row.app, row.key, row.asked_at))
    return list(by_key.values())[:AT_ONCE]


def take_in(wanted: Sequence[Wanted], answer: Answer, read_at: float) -> None:
    """What was read, not before `read_at`, into the rows that still wait for it."""
    if not wanted:
        return
    told = {(str(log.key), log.stream): log for log in answer.logs}
    begin_writing()
    for one in wanted:
        for stream in STREAMS:
            _store(one, stream, told.get((one.key, stream)), read_at)
    db.session.commit()


def _store(one: Wanted, stream: str, log: LogTail | None, read_at: float) -> None:
    sentence = (
        log.error if log else "The gate on its server is from before there were logs, and cannot read them."
    )
    # A tap that came while this was read wants what the next sync reads.
    waits = db.and_(Tail.job_id == one.job_id, Tail.stream == stream, Tail.asked_at == one.asked_at)
    db.session.execute(
        db.update(Tail)
        .where(waits, Tail.read_at.is_(None))
        .values(
            read_at=read_at,
            size=min(log.size, _LARGEST) if log else 0,
            text=log.text if log else "",
            sentence=sentence,
        )
    )


def forget_old() -> None:
    """What people read is not kept: their jobs' output is none of this database's business."""
    old = Tail.asked_at <= time.time() - KEPT_SECONDS
    if db.session.scalar(db.select(Tail.id).where(old).limit(1)) is not None:
        begin_writing(relaxed=True)
        db.session.execute(db.delete(Tail).where(old))
        db.session.commit()

"""The rows that say how a sync goes and how it went: cron, worker and page write and read the same ones."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import msgspec
from sqlalchemy import bindparam, insert, select, update

from remotejobs.errors import RemoteJobsError
from remoteweb.database import begin_writing, db, table_of
from remoteweb.leases import Lease
from remoteweb.models import Server, SyncRun

# A page looks once a second, and each of these is a commit.
PROGRESS_SECONDS = 0.5
# The worker alone makes thousands of rows a day.
KEPT_SECONDS = 2 * 86400.0
SWEEPS_EVERY = 20

_WAITING = (
    select(SyncRun)
    .where(SyncRun.server_id == bindparam("server"), SyncRun.state == "waiting")
    .order_by(SyncRun.id)
    .with_for_update()  # a tap on Pause takes them away
)
_run = table_of(SyncRun)
_BEGIN = insert(_run).returning(_run.c.id)
_END = (
    update(_run)
    .where(_run.c.id == bindparam("run"), _run.c.state == "running")
    .values(
        state=bindparam("outcome"),
        ended_at=bindparam("now"),
        stage="",
        sentence=bindparam("said"),
        changed=bindparam("rows"),
        results=bindparam("each"),
    )
)


@dataclass(slots=True)
class SourceResult:
    """How it went for one source."""

    app: str
    jobs: int = 0
    changed: int = 0
    cancelled: int = 0
    submitted: int = 0
    refused: int = 0
    unknown: int = 0
    unreadable: int = 0
    skipped: int = 0
    is_followed: bool = False  # the next sync should come soon
    absent: bool = False  # the server has no such folder
    error: str = ""

    @property
    def sentence(self) -> str:
        """As the command prints it: "42 jobs, 3 changed, 1 cancelled"."""
        if self.error:
            return self.error
        parts = [f"{self.jobs:,} job{'' if self.jobs == 1 else 's'}", f"{self.changed:,} changed"]
        parts += [f"{count:,} {word}" for count, word in self._counts() if count]
        if self.absent:
            parts.append(f"no folder ~/.{self.app} there")
        return ", ".join(parts)

    def _counts(self) -> list[tuple[int, str]]:
        return [
            (self.cancelled, "cancelled"),
            (self.submitted, "submitted"),
            (self.refused, "refused"),
            (self.unknown, "not settled yet"),
            (self.unreadable, "unreadable"),
            (self.skipped, "skipped"),
        ]


# What hears of the progress besides the row: the command's bar. It gets the stage, the count done and the
# total. What it raises ends the sync.
Listener = Callable[[str, int, int | None], None]


class Unwanted(RemoteJobsError):
    """By a listener: nobody wants this sync any more, which is no trouble of the server."""


class Progress:
    """Writes the stage and the count into the run's row, at most twice a second: a quick sync writes none at
    all.
    """

    def __init__(self, run_id: int, listener: Listener | None = None) -> None:
        self.run_id, self.listener = run_id, listener
        self.stage, self.done, self.changed = "connecting", 0, 0
        self.total: int | None = None
        self.heard_at: float | None = None  # the first word of the answer
        self._written_at = time.monotonic()

    def enter(self, stage: str, total: int | None = None) -> None:
        self.stage, self.done, self.total = stage, 0, total
        self.tell()

    def add(self, done: int, changed: int) -> None:
        self.done += done
        self.changed += changed
        self.tell()

    def heard(self, _bytes: int) -> None:
        """The first word of the server's answer is here, or one more."""
        if self.stage != "reading":
            self.heard_at = time.time()
            self.enter("reading")
        else:
            self.tell()

    def tell(self) -> None:
        """A transaction of its own, so never inside another one of the session."""
        if self.listener:
            self.listener(self.stage, self.done, self.total)
        if time.monotonic() - self._written_at < PROGRESS_SECONDS:
            return
        self._written_at = time.monotonic()
        begin_writing()
        db.session.execute(
            db.update(SyncRun)
            .where(SyncRun.id == self.run_id, SyncRun.state == "running")
            .values(stage=self.stage, done=self.done, total=self.total, changed=self.changed)
            .execution_options(synchronize_session=False)
        )
        db.session.commit()


def begin(lease: Lease, asked_by: str, *, whole_server: bool) -> int:
    """The run's row, in the caller's transaction.

    A sync of the whole server answers whoever waits for one; a sync of one source does not.
    """
    now = time.time()
    if lease.was_left:
        _close_the_dead(lease, now)
    run_id = _take_up(lease, now) if whole_server else None
    if run_id is None:
        asked = {"server_id": lease.server_id, "asked_by": asked_by, "asked_at": now}
        told = asked | {"state": "running", "holder": lease.owner, "started_at": now, "stage": "connecting"}
        run_id = db.session.execute(_BEGIN, told).scalar_one()
    if run_id % SWEEPS_EVERY == 0:
        _sweep(lease.server_id, now)
    return run_id


def _take_up(lease: Lease, now: float) -> int | None:
    """The run that somebody waits for; what else waits is done together with it."""
    waiting = db.session.scalars(_WAITING, {"server": lease.server_id}).all()
    if not waiting:
        return None
    for other in waiting[1:]:
        other.state, other.ended_at, other.sentence = "done", now, "Done together with another one."
    run = waiting[0]
    run.state, run.holder, run.started_at, run.stage = "running", lease.owner, now, "connecting"
    db.session.flush()
    return run.id


def _sweep(server_id: int, now: float) -> None:
    db.session.execute(
        db.delete(SyncRun)
        .where(SyncRun.server_id == server_id, SyncRun.ended_at < now - KEPT_SECONDS)
        .execution_options(synchronize_session=False)
    )


def end(run_id: int, state: str, sentence: str, results: list[SourceResult]) -> None:
    """In the caller's transaction."""
    told = {
        "run": run_id,
        "outcome": state,
        "now": time.time(),
        "said": sentence,
        "rows": sum(result.changed for result in results),
        "each": msgspec.json.encode([asdict(result) for result in results]).decode(),
    }
    db.session.execute(_END, told)


def close_abandoned() -> int:
    """Rows that say "running" while nobody holds their server's lease: their program was killed.

    Gives the number closed.
    """
    begin_writing()
    now = time.time()
    held = db.select(Server.lease_owner).where(Server.id == SyncRun.server_id, Server.lease_until >= now)
    closed = db.session.execute(
        db.update(SyncRun)
        .where(SyncRun.state == "running", SyncRun.holder.not_in(held.correlate(SyncRun)))
        .values(state="failed", ended_at=now, stage="", sentence=_ABANDONED)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    return int(closed.rowcount)  # type: ignore[attr-defined]


def _close_the_dead(lease: Lease, now: float) -> None:
    # We hold the lease, so whatever else says "running" is not.
    db.session.execute(
        db.update(SyncRun)
        .where(SyncRun.server_id == lease.server_id, SyncRun.state == "running")
        .values(state="failed", ended_at=now, stage="", sentence=_ABANDONED)
        .execution_options(synchronize_session=False)
    )


_ABANDONED = (
    "Stopped before its end: the program that ran it is gone. What it had written stays, the rest follows."
)

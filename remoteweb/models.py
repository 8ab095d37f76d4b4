"""The tables. Times are seconds since 1970, UTC (REAL); those of a job are by its server's clock."""

from typing import TYPE_CHECKING

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Exists,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Text,
    UniqueConstraint,
    exists,
    false,
    func,
    text,
)
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from remoteweb.accounts import FIRST, Account
from remoteweb.database import Model


class Server(Model):
    """One login of one account: (user, host, port). This machine is ("", "", 0).

    The lease, the interval and the back-off are per server.
    """

    __tablename__ = "server"
    __table_args__ = (
        UniqueConstraint("owner_id", "user", "host", "port"),
        # What runs here runs as whoever runs the program: that is the first account's alone.
        CheckConstraint(f"host <> '' OR owner_id = {FIRST}", name="server_this_machine"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(
        ForeignKey(Account.id, ondelete="CASCADE"), default=FIRST, server_default=text("1")
    )
    user: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    port: Mapped[int]
    alias: Mapped[str] = mapped_column(
        Text, default=""
    )  # the ~/.ssh/config alias it was added under, for showing
    key_files: Mapped[str] = mapped_column(
        Text, default=""
    )  # JSON list of paths, from the alias, resolved once
    way: Mapped[str] = mapped_column(
        Text, default="", server_default=text("''")
    )  # JSON: what else is known of the way there (jumps, certificates), as the library's Target tells it; "": nothing
    asks: Mapped[bool] = mapped_column(
        default=False, server_default=false()
    )  # its logins ask for what a person types
    keep_seconds: Mapped[float] = mapped_column(
        Float, default=0.0, server_default=text("0")
    )  # of an open connection: the last choice
    kept_until: Mapped[float] = mapped_column(
        Float, default=0.0, server_default=text("0")
    )  # an open connection is kept that long, by the worker `kept_by`
    kept_by: Mapped[str] = mapped_column(Text, default="", server_default=text("''"))
    lease_owner: Mapped[str] = mapped_column(Text, default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    fence: Mapped[int] = mapped_column(default=0)
    min_interval: Mapped[float] = mapped_column(Float, default=10.0)  # seconds, never synced more often
    last_try_at: Mapped[float | None] = mapped_column(Float)
    failures: Mapped[int] = mapped_column(default=0)  # in a row
    not_before: Mapped[float] = mapped_column(Float, default=0.0)  # back-off, survives a restart
    needs_person: Mapped[str] = mapped_column(
        Text, default=""
    )  # why it is not tried again by itself: a sentence
    error: Mapped[str] = mapped_column(Text, default="")  # what the last sync said, "" when it went well
    error_since: Mapped[float | None] = mapped_column(Float)
    skew: Mapped[float | None] = mapped_column(Float)  # server's clock minus ours, seconds
    narrow: Mapped[str] = mapped_column(
        Text, default="", server_default=text("''")
    )  # the gate that answered last; "" where the login is an ordinary one

    sources: Mapped[list["Source"]] = relationship(back_populates="server", cascade="all, delete-orphan")

    if TYPE_CHECKING:  # given below, where the table is there to be looked at twice
        has_namesake_of_another_user: Mapped[bool]
        has_namesake_at_another_port: Mapped[bool]

    @property
    def is_local(self) -> bool:
        return self.host == ""

    @property
    def label(self) -> str:
        """As a person would call it, with as much of the login as tells it from the others here."""
        if self.is_local:
            return "this machine"
        name = self.alias or self.host
        if self.has_namesake_at_another_port:
            name = f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"
        return f"{self.user}@{name}" if self.has_namesake_of_another_user else name


def _name(server: FromClause) -> ColumnElement[str]:
    return func.coalesce(func.nullif(server.c.alias, ""), server.c.host)


def _has_namesake(column: str) -> Exists:
    """Whether another server of that owner is called the same and differs in this. It comes with each row: no list asks."""
    this, other = Server.__table__, Server.__table__.alias("other")
    same_owner, differs = this.c.owner_id == other.c.owner_id, this.c[column] != other.c[column]
    return exists().where(same_owner, _name(this) == _name(other), differs).correlate_except(other)


Server.has_namesake_of_another_user = column_property(_has_namesake("user"))
Server.has_namesake_at_another_port = column_property(_has_namesake("port"))


class Source(Model):
    """An app's records on a server: what `update-database APP SERVER` names. Known from its first successful exchange on."""

    __tablename__ = "source"
    __table_args__ = (UniqueConstraint("server_id", "kind", "app"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(Text, default="remotejobs")
    app: Mapped[str] = mapped_column(Text)
    paused: Mapped[bool] = mapped_column(default=False)
    cursor: Mapped[str | None] = mapped_column(Text)  # which contents have arrived whole; None: nothing yet
    confirmed_at: Mapped[float | None] = mapped_column(
        Float
    )  # the last exchange that confirmed all its rows, our clock
    shown_at: Mapped[float | None] = mapped_column(Float)  # the confirmed_at that pages were last told of
    error: Mapped[str] = mapped_column(Text, default="")  # a trouble of this app's folder alone
    jobs: Mapped[int | None]  # how many there are: counted anew only when something has changed
    unreadable: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    change: Mapped[int] = mapped_column(default=0, index=True)
    clean_at: Mapped[float] = mapped_column(
        Float, default=0.0, server_default=text("0")
    )  # from when on a sync may ask for cleaning, our clock

    server: Mapped[Server] = relationship(back_populates="sources")


class Job(Model):
    """One submission. `settings` and `facts` are the record as it was read; the rest is derived from it and from the queue."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("source_id", "key", "incarnation"),
        Index("job_scheduler_id", "server_id", "cluster", "scheduler_id", "submitted"),
        Index("job_list", "owner_id", "group", text("change DESC")),
        Index("job_source_list", "source_id", "group", text("change DESC")),
        Index("job_hash", "source_id", "hash", "n"),
        Index("job_open", "source_id", "open"),
        Index(
            "job_uncleaned",
            "source_id",
            "ended",
            sqlite_where=text("cleaned = 0 AND open = 0"),
            postgresql_where=text("NOT cleaned AND NOT open"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"))
    # Its server's, once more: the lists walk an index that begins with it.
    owner_id: Mapped[int] = mapped_column(default=FIRST, server_default=text("1"))
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"))
    key: Mapped[str | None] = mapped_column(Text)
    incarnation: Mapped[str] = mapped_column(Text, default="")
    hash: Mapped[str] = mapped_column(Text, default="")
    n: Mapped[int] = mapped_column(default=0)
    name: Mapped[str] = mapped_column(Text)
    scheduler: Mapped[str] = mapped_column(Text, default="")
    cluster: Mapped[str] = mapped_column(Text, default="")
    scheduler_id: Mapped[str] = mapped_column(Text, default="")
    submitted: Mapped[float | None] = mapped_column(Float)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, default="")
    raw: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(default=1)
    settling: Mapped[bool] = mapped_column(default=False)
    exit_code: Mapped[int | None]
    started: Mapped[float | None] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)
    updated: Mapped[float | None] = mapped_column(Float)
    expected_start: Mapped[float | None] = mapped_column(Float)
    partition: Mapped[str] = mapped_column(Text, default="")
    nodes: Mapped[str] = mapped_column(Text, default="")
    limit: Mapped[int | None]  # walltime, seconds
    cleaned: Mapped[bool] = mapped_column(default=False)
    open: Mapped[bool] = mapped_column(
        default=True
    )  # not final, or watched for a requeue: looked at in every sync
    group: Mapped[int] = mapped_column(
        default=2
    )  # see remoteweb/groups.py: stored, so that pages and feed follow it
    change: Mapped[int] = mapped_column(default=0)  # the change number of the last change that a page shows
    revision: Mapped[int] = mapped_column(default=1)  # +1 per change; what an action says the person saw
    settings: Mapped[str] = mapped_column(Text, default="{}")  # JSON
    facts: Mapped[str] = mapped_column(Text, default="{}")  # JSON

    server: Mapped[Server] = relationship()
    source: Mapped[Source | None] = relationship()


class Event(Model):
    """A change of state, written in the transaction that changes the state: what notifications and histories are made of."""

    __tablename__ = "event"
    __table_args__ = (Index("event_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    seen_at: Mapped[float] = mapped_column(Float)  # our clock
    old_state: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, default="")
    raw: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(default=1)


class Action(Model):
    """What a person asked for: waiting -> sending -> done | refused | unknown | gave_up, or withdrawn while waiting."""

    __tablename__ = "action"
    __table_args__ = (
        Index(
            "action_one_open",
            "job_id",
            "kind",
            unique=True,
            sqlite_where=text("state IN ('waiting', 'sending', 'unknown')"),
            postgresql_where=text("state IN ('waiting', 'sending', 'unknown')"),
        ),
        Index("action_open", "source_id", "state"),
        Index("action_job", "job_id", "id"),  # what was last asked of a job; None: submissions
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uuid: Mapped[str] = mapped_column(Text, unique=True)
    idem_key: Mapped[str] = mapped_column(Text, unique=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(Text)  # cancel, resubmit, submit
    values: Mapped[str] = mapped_column(Text, default="{}")  # JSON
    # Of the job, as the person saw it; once a resubmission is done, the last one that does not know of its run.
    revision: Mapped[int] = mapped_column(default=0)
    asked_by: Mapped[str] = mapped_column(Text, default="")
    asked_at: Mapped[float] = mapped_column(Float)
    not_before: Mapped[float] = mapped_column(Float)  # the end of the time for undo
    state: Mapped[str] = mapped_column(Text, default="waiting")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    fence: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str] = mapped_column(Text, default="")  # a sentence
    evidence: Mapped[str] = mapped_column(Text, default="")
    new_key: Mapped[str] = mapped_column(Text, default="")  # of a submission
    ended_at: Mapped[float | None] = mapped_column(Float)

    job: Mapped[Job | None] = relationship()
    source: Mapped[Source] = relationship()


class SyncRun(Model):
    """One sync of one server: waiting (a tap asked for it) -> running -> done | failed.

    Cron, worker and page write the same rows.
    """

    __tablename__ = "sync_run"
    __table_args__ = (Index("sync_run_server", "server_id", "id"), Index("sync_run_state", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("server.id", ondelete="CASCADE"))
    asked_by: Mapped[str] = mapped_column(Text)  # person, worker, command
    asked_at: Mapped[float] = mapped_column(Float)
    state: Mapped[str] = mapped_column(Text, default="waiting")
    holder: Mapped[str] = mapped_column(Text, default="")  # host:pid:random of who runs it
    started_at: Mapped[float | None] = mapped_column(Float)
    ended_at: Mapped[float | None] = mapped_column(Float)
    stage: Mapped[str] = mapped_column(Text, default="")  # connecting, reading, writing
    done: Mapped[int] = mapped_column(default=0)  # records written
    total: Mapped[int | None]  # records to write, once known
    changed: Mapped[int] = mapped_column(default=0)
    sentence: Mapped[str] = mapped_column(Text, default="")  # how it went, in words
    results: Mapped[str] = mapped_column(Text, default="[]")  # JSON: per source {app, jobs, changed, error}

    server: Mapped[Server] = relationship()


class Counter(Model):
    """Counters updated last in the writing transaction: the largest id is not commit order on PostgreSQL."""

    __tablename__ = "counter"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[int] = mapped_column(default=0)

"""One sync of one server: its answer into the tables, and waiting actions out to it.

The command, the worker and the page all use this. Each step is a transaction of its own under the server's
lease, so a kill at any point leaves the database whole, and the next sync goes on from there.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

from flask import current_app
from sqlalchemy import bindparam, select
from sqlalchemy.exc import DBAPIError

from remotejobs.answer import Answer
from remotejobs.errors import HostKeyUnknown, LoginError, RemoteJobsError, ServerProblem
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.shell import Shell
from remoteweb import answers, changes, cleaning, confirming, leases, outcomes, runs, sending, tails, trouble
from remoteweb.database import begin_writing, db, table_of
from remoteweb.leases import Lease, LeaseLost, TooSoon
from remoteweb.models import Server, Source
from remoteweb.runs import Listener, Progress, SourceResult, Unwanted
from remoteweb.sources import SourceGone
from remoteweb.syncs import Sync, SyncResult
from remoteweb.untrusted import line

TIMEOUT_SECONDS = 90.0
_NOT_WRITTEN = "How a sync ended could not be written down; its lease runs out by itself."

_ACCEPT_IT = "“Sign in” on the page Servers shows it, to be compared and accepted; or do it on a terminal."

_source = table_of(Source).c
# One statement tells what is asked for, and whether there is anything more to look for: mostly there is not.
_SOURCES = (
    select(
        _source.app,
        _source.id,
        _source.cursor,
        sending.is_due_of(_source.id).label("has_due"),
        tails.IS_ANY_WAITING.label("are_tails_waiting"),
        cleaning.IS_DUE.label("is_cleaning_due"),
    )
    .where(_source.server_id == bindparam("server"))
    .order_by(_source.id)
)
_UNPAUSED = _SOURCES.where(_source.paused.is_(False))
_NAMED = _SOURCES.where(_source.app.in_(bindparam("apps", expanding=True)))

ShellFactory = Callable[[Server], Shell]


def collect(
    server: Server,
    shell_factory: ShellFactory,
    *,
    apps: list[str] | None = None,
    asked_by: str = "command",
    listener: Listener | None = None,
    wait: bool = True,
    ignore_interval: bool = False,
    timeout: float = TIMEOUT_SECONDS,
) -> SyncResult:
    """Sync `apps` of this server, or all of it that is not paused.

    An app that is new becomes known when its answer came. Raises Busy, TooSoon (without `wait`), and what an
    exchange raises, after the database has been told of it.
    """
    server_id, label = server.id, server.label
    db.session.rollback()
    sync, at = _begin(server_id, asked_by, apps, listener, wait=wait, ignore_interval=ignore_interval)
    with leases.kept(sync.lease):
        try:
            answer = _carry_out(sync, shell_factory, at, timeout) if sync.wanted else None
            result = _end_well(sync, answer, label)
        except BaseException as error:
            with _told_to_the_log():
                _end_badly(sync, error)
            raise
    if sync.wanted and not sync.known:
        raise ServerProblem(result.sources[0].error)  # of the folder that was named, not of the server
    return result


def _begin(
    server_id: int,
    asked_by: str,
    apps: list[str] | None,
    listener: Listener | None,
    *,
    wait: bool,
    ignore_interval: bool,
) -> tuple[Sync, Server]:
    """One transaction: the lease, the run's row, and what is to be asked for. The server's row goes to its shell."""
    owner = leases.new_owner()
    while True:
        begin_writing(relaxed=True)
        try:
            lease = leases.take(server_id, owner, ignore_interval=ignore_interval)
        except TooSoon as too_soon:
            if not wait:
                raise
            if listener:
                listener("waiting", 0, None)
            time.sleep(min(too_soon.seconds, 1.0) + 0.01)
            continue
        run_id = runs.begin(lease, asked_by, whole_server=apps is None)
        sync = _planned(lease, Progress(run_id, listener), apps)
        server = db.session.get_one(Server, server_id)
        db.session.expunge(server)
        db.session.commit()
        return sync, server


def _planned(lease: Lease, progress: Progress, apps: list[str] | None) -> Sync:
    """The apps that are named, else all that are not paused; of those that are known also the cursor, and what is due."""
    query = _UNPAUSED if apps is None else _NAMED
    now = time.time()
    asked = {"server": lease.server_id, "apps": apps, "now": now, "held": lease.fence, "since": tails.since()}
    known = db.session.execute(query, asked | cleaning.over_since(now)).all()
    wanted: Iterable[str] = apps if apps is not None else [row.app for row in known]
    sync = Sync(
        lease,
        progress,
        list(wanted),
        apps is not None,
        time.time(),
        results={app: SourceResult(app) for app in wanted},
        known={row.app: row.id for row in known},
        cursors={row.app: row.cursor for row in known},
        has_due=any(row.has_due for row in known),
    )
    if any(row.are_tails_waiting for row in known):
        sync.tails = tails.waiting(list(sync.known.values()))
    if not sync.has_due:  # a sync that a person waits for has enough to do
        sync.cleanings = cleaning.planned({row.app: row.id for row in known if row.is_cleaning_due})
    return sync


def _carry_out(sync: Sync, shell_factory: ShellFactory, at: Server, timeout: float) -> Answer:
    with _connected(shell_factory, at) as shell:
        request = _prepare(sync, at.skew or 0.0, timeout)
        sync.progress.enter("connecting")
        try:
            answer = exchange(shell, request, sync.progress.heard)
        finally:
            sync.wire_was_touched = shell.execs > 0
    try:
        answers.take_in(sync, answer)
        tails.take_in(sync.tails, answer, sync.progress.heard_at or sync.began_at)
    finally:
        answer.close()
    return answer


@contextlib.contextmanager
def _connected(shell_factory: ShellFactory, at: Server) -> Iterator[Shell]:
    shell = shell_factory(at)
    try:
        yield shell
    finally:
        shell.close()


def _prepare(sync: Sync, skew: float, timeout: float) -> Request:
    if sync.has_due:
        sync.sent = sending.claim(sync.lease, list(sync.known.values()))
    return Request(
        sources=[SourceRequest(app, sync.cursors.get(app)) for app in sync.wanted],
        actions=[item.request for item in sync.sent],
        cleanings=list(sync.cleanings),
        questions=[question for tail in sync.tails for question in tail.questions],
        # The server stops before we would hang up: what it has done by then it can still say.
        budget=max(timeout - 15.0, timeout / 2),
        timeout=timeout,
        skew=skew,
    )


def _end_well(sync: Sync, answer: Answer | None, label: str) -> SyncResult:
    """One transaction says it all: what is written is confirmed, the run has ended, the server is free."""
    is_steady = not sync.sent and not any(result.changed for result in sync.results.values())
    begin_writing(relaxed=is_steady)
    server = leases.give_back(sync.lease)
    moved = []
    if answer is not None:
        moved = confirming.confirm(server, answer, sync.known, sync.results, sync.began_at)
        cleaning.took_place(sync.cleanings, answer, sync.known)
    moved += trouble.is_over(server)
    result = SyncResult(label, time.time() - sync.began_at, list(sync.results.values()))
    failed = bool(result.sources) and all(source.error for source in result.sources)
    runs.end(sync.progress.run_id, "failed" if failed else "done", result.sentence, result.sources)
    changes.publish(moved)
    db.session.commit()
    return result


def _end_badly(sync: Sync, error: BaseException) -> None:
    """Whatever happened: actions, run, trouble and lease are left as the next sync wants to find them."""
    db.session.rollback()
    outcomes.put_back(sync.lease, sync.sent, wire_was_touched=sync.wire_was_touched)
    begin_writing()
    is_ours = leases.locked(sync.lease.server_id) == sync.lease.fence
    sentence = _in_words(error)
    runs.end(sync.progress.run_id, "failed", sentence, list(sync.results.values()))
    if (
        is_ours
        and isinstance(error, Exception)
        and not isinstance(error, LeaseLost | SourceGone | Unwanted | DBAPIError)
    ):
        trouble.note(sync.lease, sentence, is_login=isinstance(error, LoginError))
    leases.drop(sync.lease)
    db.session.commit()


@contextlib.contextmanager
def _told_to_the_log() -> Iterator[None]:
    """What stopped the sync is what its caller has to hear, also when the database does not take that either."""
    try:
        yield
    except DBAPIError as error:
        db.session.rollback()
        current_app.logger.warning("%s (%s)", _NOT_WRITTEN, line(error.orig, 300))
    except Exception:
        db.session.rollback()
        current_app.logger.exception(_NOT_WRITTEN)


def _in_words(error: BaseException) -> str:
    if isinstance(error, HostKeyUnknown):
        return line(f"{str(error).partition('). ')[0]}). {_ACCEPT_IT}", 600)
    if isinstance(error, RemoteJobsError):
        return line(error, 600)
    if isinstance(error, DBAPIError):
        return f"The database did not take it: {line(error.orig, 300)}. The rest follows with the next sync."
    if isinstance(error, Exception):
        current_app.logger.error("A sync ended in an error that is not foreseen.", exc_info=error)
        return f"An error that is not foreseen stopped it ({type(error).__name__}); the log says where."
    return "Interrupted. What had been written stays; the rest follows with the next sync."

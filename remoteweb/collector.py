"""One sync of one server: its answer into the tables, and waiting actions out to it.

The command, the worker and the page all use this. Each step is a transaction of its own under the server's
lease, so a kill at any point leaves the database whole, and the next sync goes on from there.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flask import current_app

from remotejobs.answer import Answer, Chunk, SourceAnswer
from remotejobs.errors import AnswerBroken, LoginError, RemoteJobsError, ServerProblem
from remotejobs.exchange import Request, SourceRequest, exchange
from remotejobs.shell import Shell
from remoteweb import changes, confirming, intake, judging, leases, outcomes, runs, trouble
from remoteweb.database import begin_writing, db
from remoteweb.leases import Lease, LeaseLost, TooSoon
from remoteweb.models import Server, Source
from remoteweb.runs import Listener, Progress, SourceResult
from remoteweb.sources import SourceGone
from remoteweb.untrusted import line

TIMEOUT_SECONDS = 90.0
# Of writing without a gap, and the gap.
WORK_SECONDS = 0.15
GAP_SECONDS = 0.06

ShellFactory = Callable[[Server], Shell]


@dataclass(slots=True)
class SyncResult:
    label: str
    seconds: float
    sources: list[SourceResult] = field(default_factory=list)

    @property
    def is_followed(self) -> bool:
        """Something was done, or is not settled yet: another sync soon shows what became of it."""
        return any(result.is_followed for result in self.sources)

    @property
    def sentence(self) -> str:
        if len(self.sources) == 1:
            return f"{self.sources[0].sentence}."
        return " ".join(f"{result.app}: {result.sentence}." for result in self.sources) or "Nothing to sync."


class _Pause:
    """SQLite has one write lock and no queue before it: who waits looks again now and then, up to 0.1 s apart.

    A long series of transactions would hardly ever be caught between two of them, so it leaves gaps for taps.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._needed = db.engine.dialect.name == "sqlite"

    def take(self) -> None:
        if self._needed and time.monotonic() - self._since > WORK_SECONDS:
            time.sleep(GAP_SECONDS)
            self._since = time.monotonic()


@dataclass(slots=True)
class _Sync:
    """What the steps of one sync hand on."""

    lease: Lease
    progress: Progress
    pause: "_Pause"
    wanted: list[str]  # apps
    is_named: bool  # by a person, so one that is not known yet becomes known
    began_at: float
    results: dict[str, SourceResult] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)  # ids of the sources that are known by now
    sent: list[outcomes.Sent] = field(default_factory=list)
    wire_was_touched: bool = False


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
    owner = leases.new_owner()
    lease, run_id = _begin(
        server_id, owner, asked_by, apps, listener, wait=wait, ignore_interval=ignore_interval
    )
    sync = _Sync(lease, Progress(run_id, listener), _Pause(), [], apps is not None, time.time())
    with leases.kept(lease):
        try:
            sync.wanted = apps if apps is not None else _active_apps(server_id)
            sync.results = {app: SourceResult(app) for app in sync.wanted}
            answer = _carry_out(sync, shell_factory, timeout) if sync.wanted else None
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
    owner: str,
    asked_by: str,
    apps: list[str] | None,
    listener: Listener | None,
    *,
    wait: bool,
    ignore_interval: bool,
) -> tuple[Lease, int]:
    while True:
        begin_writing()
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
        db.session.commit()
        return lease, run_id


def _active_apps(server_id: int) -> list[str]:
    query = (
        db.select(Source.app)
        .where(Source.server_id == server_id, Source.paused.is_(False))
        .order_by(Source.id)
    )
    apps = list(db.session.scalars(query))
    db.session.rollback()
    return apps


def _carry_out(sync: _Sync, shell_factory: ShellFactory, timeout: float) -> Answer:
    with _connected(sync, shell_factory) as shell:
        request = _prepare(sync, timeout)
        sync.progress.enter("connecting")
        try:
            answer = exchange(shell, request, sync.progress.heard)
        finally:
            sync.wire_was_touched = shell.execs > 0
    try:
        _take_in(sync, answer)
    finally:
        answer.close()
    return answer


@contextlib.contextmanager
def _connected(sync: _Sync, shell_factory: ShellFactory) -> Iterator[Shell]:
    server = db.session.get_one(Server, sync.lease.server_id)
    db.session.expunge(server)
    db.session.rollback()
    shell = shell_factory(server)
    try:
        yield shell
    finally:
        shell.close()


def _prepare(sync: _Sync, timeout: float) -> Request:
    known = _sources(sync)
    cursors = {app: source.cursor for app, source in known.items()}
    ids = [source.id for source in known.values()]
    db.session.rollback()
    sync.sent = outcomes.claim(sync.lease, ids)
    return Request(
        sources=[SourceRequest(app, cursors.get(app)) for app in sync.wanted],
        actions=[item.request for item in sync.sent],
        # The server stops before we would hang up: what it has done by then it can still say.
        budget=max(timeout - 15.0, timeout / 2),
        timeout=timeout,
    )


def _sources(sync: _Sync) -> dict[str, Source]:
    query = db.select(Source).where(Source.server_id == sync.lease.server_id, Source.app.in_(sync.wanted))
    return {source.app: source for source in db.session.scalars(query)}


def _take_in(sync: _Sync, answer: Answer) -> None:
    """Records, then what became of the actions, then the open jobs by the queue."""
    missing = [app for app in sync.wanted if app not in answer.sources]
    if missing:
        raise AnswerBroken(
            f"The server's answer does not speak of {', '.join(missing)}. Nothing in it was used."
        )
    total = sum(source.total for source in answer.sources.values() if not source.error)
    sync.progress.enter("writing", total)
    seen = judging.Seen.of(answer.queues, answer.clock)
    _meet(sync, answer)
    good = [app for app in sync.wanted if not answer.sources[app].error]
    for app in good:
        _store(sync, sync.known[app], answer.sources[app], seen)
    unread = {app for app in sync.wanted if answer.sources[app].error}
    outcomes.settle(sync.lease, sync.sent, answer.outcomes, sync.results, unread)
    for app in good:
        sync.results[app].changed += intake.look_again(sync.lease, sync.known[app], seen)


def _meet(sync: _Sync, answer: Answer) -> None:
    """A source that was named, and whose first answer this is, becomes known here."""
    sync.known = {app: source.id for app, source in _sources(sync).items()}
    db.session.rollback()
    if not sync.is_named:
        # One that is gone was removed while we asked: its answer must not bring it back.
        sync.wanted = [app for app in sync.wanted if app in sync.known]
        sync.results = {app: sync.results[app] for app in sync.wanted}
        return
    if all(app in sync.known or answer.sources[app].error for app in sync.wanted):
        return
    begin_writing()
    leases.still_ours(sync.lease)
    sources = _sources(sync)  # a page may have been quicker
    for app in sync.wanted:
        if app not in sources and not answer.sources[app].error:
            sources[app] = Source(server_id=sync.lease.server_id, app=app)
            db.session.add(sources[app])
    db.session.flush()
    sync.known = {app: source.id for app, source in sources.items()}
    db.session.commit()


def _store(sync: _Sync, source_id: int, told: SourceAnswer, seen: judging.Seen) -> None:
    for chunk in _chunks(told):
        for done, changed in intake.store(sync.lease, source_id, chunk, seen):
            sync.results[told.app].changed += changed
            sync.progress.add(done, changed)
            sync.pause.take()


def _chunks(told: SourceAnswer) -> Iterator[Chunk]:
    """What is packed is unpacked only here, and may turn out to be no true answer: what came before it
    counts.
    """
    try:
        yield from told.chunks()
    except (ValueError, EOFError) as error:
        raise AnswerBroken(f"The records of {told.app} cannot be read to their end: {error}.") from error


def _end_well(sync: _Sync, answer: Answer | None, label: str) -> SyncResult:
    """One transaction says it all: what is written is confirmed, the run has ended, the server is free."""
    begin_writing()
    leases.still_ours(sync.lease)
    moved = []
    if answer is not None:
        moved = confirming.confirm(sync.lease, answer, sync.known, sync.results, sync.began_at)
    moved += trouble.is_over(sync.lease)
    result = SyncResult(label, time.time() - sync.began_at, list(sync.results.values()))
    failed = bool(result.sources) and all(source.error for source in result.sources)
    runs.end(sync.progress.run_id, "failed" if failed else "done", result.sentence, result.sources)
    leases.give_back(sync.lease)
    changes.publish(moved)
    db.session.commit()
    return result


def _end_badly(sync: _Sync, error: BaseException) -> None:
    """Whatever happened: actions, run, trouble and lease are left as the next sync wants to find them."""
    db.session.rollback()
    outcomes.put_back(sync.lease, sync.sent, wire_was_touched=sync.wire_was_touched)
    begin_writing()
    sentence = _in_words(error)
    runs.end(sync.progress.run_id, "failed", sentence, list(sync.results.values()))
    if isinstance(error, Exception) and not isinstance(error, LeaseLost | SourceGone):
        trouble.note(sync.lease, sentence, is_login=isinstance(error, LoginError))
    leases.give_back(sync.lease)
    db.session.commit()


@contextlib.contextmanager
def _told_to_the_log() -> Iterator[None]:
    """What stopped the sync is what its caller has to hear, also when the database does not take that either."""
    try:
        yield
    except Exception:
        db.session.rollback()
        current_app.logger.exception(
            "How a sync ended could not be written down; its lease runs out by itself."
        )


def _in_words(error: BaseException) -> str:
    if isinstance(error, RemoteJobsError):
        return line(error, 600)
    if isinstance(error, Exception):
        current_app.logger.error("A sync ended in an error that is not foreseen.", exc_info=error)
        return f"An error that is not foreseen stopped it ({type(error).__name__}); the log says where."
    return "Interrupted. What had been written stays; the rest follows with the next sync."

"""A server's answer into the tables: its records, what became of the actions, then the open jobs by its queues.

Each step is a transaction of its own, under the server's lease.
"""

import time
from collections.abc import Iterator

from sqlalchemy import bindparam, select

from remotejobs.answer import Answer, Chunk, SourceAnswer
from remotejobs.errors import AnswerBroken
from remoteweb import intake, judging, leases, outcomes
from remoteweb.database import begin_writing, db, table_of
from remoteweb.models import Source
from remoteweb.syncs import Sync

# Of writing without a gap, and the gap.
WORK_SECONDS = 0.15
GAP_SECONDS = 0.06

_source = table_of(Source).c
_IDS = select(_source.app, _source.id).where(
    _source.server_id == bindparam("server"), _source.app.in_(bindparam("apps", expanding=True))
)


def take_in(sync: Sync, answer: Answer) -> None:
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
    good, pause = [app for app in sync.wanted if not answer.sources[app].error], _Pause()
    for app in good:
        _store(sync, sync.known[app], answer.sources[app], seen, pause)
    unread = {app for app in sync.wanted if answer.sources[app].error}
    outcomes.settle(sync.lease, sync.sent, answer.outcomes, sync.results, unread)
    for app in good:
        sync.results[app].changed += intake.look_again(sync.lease, sync.known[app], seen)


def _meet(sync: Sync, answer: Answer) -> None:
    """A source that was named, and whose first answer this is, becomes known here."""
    sync.known = _ids(sync)
    if not sync.is_named:
        # One that is gone was removed while we asked: its answer must not bring it back.
        sync.wanted = [app for app in sync.wanted if app in sync.known]
        sync.results = {app: sync.results[app] for app in sync.wanted}
        return
    if all(app in sync.known or answer.sources[app].error for app in sync.wanted):
        return
    begin_writing()
    leases.still_ours(sync.lease)
    known = _ids(sync)  # a page may have been quicker
    for app in sync.wanted:
        if app not in known and not answer.sources[app].error:
            db.session.add(Source(server_id=sync.lease.server_id, app=app))
    db.session.flush()
    sync.known = _ids(sync)
    db.session.commit()


def _store(sync: Sync, source_id: int, told: SourceAnswer, seen: judging.Seen, pause: "_Pause") -> None:
    for chunk in _chunks(told):
        for done, changed in intake.store(sync.lease, source_id, chunk, seen):
            sync.results[told.app].changed += changed
            sync.progress.add(done, changed)
            pause.take()


def _chunks(told: SourceAnswer) -> Iterator[Chunk]:
    """What is packed is unpacked only here, and may turn out to be no true answer: what came before it
    counts.
    """
    try:
        yield from told.chunks()
    except (ValueError, EOFError) as error:
        raise AnswerBroken(f"The records of {told.app} cannot be read to their end: {error}.") from error


def _ids(sync: Sync) -> dict[str, int]:
    asked = {"server": sync.lease.server_id, "apps": sync.wanted}
    return {row.app: row.id for row in db.session.execute(_IDS, asked)}


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

"""The end of a sync's answer: which sources are confirmed by it, and what their lines on the pages say."""

from sqlalchemy import bindparam, func, select, update

from remotejobs.answer import Answer, SourceAnswer
from remoteweb import leases, sources
from remoteweb.database import db, table_of
from remoteweb.models import Job, Server, Source
from remoteweb.runs import SourceResult
from remoteweb.sources import SourceGone
from remoteweb.untrusted import line

# Clocks are told in whole seconds, and the first word takes a while on its way: less is no change, and times stand still.
SKEW_SECONDS = 2.0
# A sync that changed nothing moves its source's line at most this often: ages count on by themselves.
SHOWN_SECONDS = 60.0

# No more of a source is read and written than its line.
_source = table_of(Source)
_LINE = select(
    _source.c.error,
    _source.c.unreadable,
    _source.c.skipped,
    _source.c.jobs,
    _source.c.confirmed_at,
    _source.c.shown_at,
).where(_source.c.id == bindparam("source"))
_CONFIRM = (
    update(_source)
    .where(_source.c.id == bindparam("source"))
    .values(
        error=bindparam("new_error"),
        unreadable=bindparam("new_unreadable"),
        skipped=bindparam("new_skipped"),
        jobs=bindparam("new_jobs"),
        confirmed_at=bindparam("new_confirmed_at"),
        shown_at=bindparam("new_shown_at"),
    )
)


def confirm(
    server: leases.Freed,
    answer: Answer,
    ids: dict[str, int],
    results: dict[str, SourceResult],
    began_at: float,
) -> list[Source]:
    """In the caller's transaction, which publishes the sources that it gives: those whose line says something else now.

    `ids` are the known sources of this sync by app, `results` gets what there is to say of each.
    """
    skew, gate = server.skew, line(answer.gate, 80)
    if answer.skew is not None and (skew is None or abs(skew - answer.skew) >= SKEW_SECONDS):
        skew = round(answer.skew, 1)
    is_another_gate = server.narrow != gate
    if skew != server.skew or is_another_gate:
        db.session.execute(update(Server).where(Server.id == server.id).values(skew=skew, narrow=gate))
    moved = []
    for app, result in results.items():
        told = answer.sources[app]
        result.absent, result.error = told.absent, line(told.error, 600)
        if app in ids:
            is_moved = _confirm_one(ids[app], told, _unanswered(ids[app], answer), result, began_at)
            if is_moved or is_another_gate:
                moved.append(sources.still_known(ids[app]))
    return moved


def _confirm_one(
    source_id: int, told: SourceAnswer, unanswered: str, result: SourceResult, began_at: float
) -> bool:
    """True: the source's line says something else now."""
    was = db.session.execute(_LINE, {"source": source_id}).one_or_none()
    if was is None:
        raise SourceGone
    result.error = result.error or unanswered
    seen = was if told.error else told
    result.unreadable, result.skipped = seen.unreadable, seen.skipped
    is_counted = was.jobs is not None and not result.changed
    result.jobs = was.jobs if is_counted else _count(source_id)
    confirmed_at = was.confirmed_at if result.error else began_at
    is_old = (confirmed_at or 0.0) - (was.shown_at or 0.0) >= SHOWN_SECONDS
    is_other = (result.error, result.unreadable, result.skipped) != (was.error, was.unreadable, was.skipped)
    is_moved = bool(result.changed) or is_old or is_other
    told_now = {
        "source": source_id,
        "new_error": result.error,
        "new_unreadable": result.unreadable,
        "new_skipped": result.skipped,
        "new_jobs": result.jobs,
        "new_confirmed_at": confirmed_at,
        "new_shown_at": confirmed_at if is_moved else was.shown_at,
    }
    db.session.execute(_CONFIRM, told_now)
    return is_moved


def _count(source_id: int) -> int:
    return db.session.scalar(select(func.count()).where(Job.source_id == source_id)) or 0


def _unanswered(source_id: int, answer: Answer) -> str:
    """A queue that did not answer whole leaves the source's open jobs as they were, so they are not
    confirmed.
    """
    cut = sorted({queue.scheduler for queue in answer.queues if not queue.complete})
    if not cut:
        return ""
    open_there = select(Job.id).where(Job.source_id == source_id, Job.open, Job.scheduler.in_(cut))
    if db.session.scalar(open_there.limit(1)) is None:
        return ""
    return f"{line(', '.join(cut), 60)} on the server did not answer. The last known states are shown."

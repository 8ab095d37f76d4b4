"""The end of a sync's answer: which sources are confirmed by it, and what their lines on the pages say."""

from remotejobs.answer import Answer, SourceAnswer
from remoteweb import sources
from remoteweb.database import db
from remoteweb.models import Job, Server, Source
from remoteweb.runs import SourceResult
from remoteweb.untrusted import line

# Clocks are told in whole seconds, and the first word takes a while on its way: less is no change, and times stand still.
SKEW_SECONDS = 2.0
# A sync that changed nothing moves its source's line at most this often: ages count on by themselves.
SHOWN_SECONDS = 60.0


def confirm(
    server: Server, answer: Answer, ids: dict[str, int], results: dict[str, SourceResult], began_at: float
) -> list[Source]:
    """In the caller's transaction, which publishes the sources that it gives: those whose line says something else now.

    `ids` are the known sources of this sync by app, `results` gets what there is to say of each.
    """
    if server.skew is None or abs(server.skew - answer.skew) >= SKEW_SECONDS:
        server.skew = round(answer.skew, 1)
    before, server.narrow = server.narrow, line(answer.gate, 80)
    moved = []
    for app, result in results.items():
        told = answer.sources[app]
        result.absent, result.error = told.absent, line(told.error, 600)
        if app in ids:
            source = sources.still_known(ids[app])
            is_moved = _confirm_one(source, told, _unanswered(source, answer), result, began_at)
            if is_moved or before != server.narrow:
                moved.append(source)
    return moved


def _confirm_one(
    source: Source, told: SourceAnswer, unanswered: str, result: SourceResult, began_at: float
) -> bool:
    """True: the source's line says something else now."""
    before = (source.error, source.unreadable, source.skipped)
    result.error = source.error = result.error or unanswered
    if not told.error:
        source.unreadable, source.skipped = told.unreadable, told.skipped
    if not source.error:
        source.confirmed_at = began_at
    result.unreadable, result.skipped = source.unreadable, source.skipped
    if source.jobs is None or result.changed:
        source.jobs = db.session.scalar(db.select(db.func.count()).where(Job.source_id == source.id))
    result.jobs = source.jobs or 0
    is_old = (source.confirmed_at or 0.0) - (source.shown_at or 0.0) >= SHOWN_SECONDS
    if result.changed or is_old or (source.error, source.unreadable, source.skipped) != before:
        source.shown_at = source.confirmed_at
        return True
    return False


def _unanswered(source: Source, answer: Answer) -> str:
    """A queue that did not answer whole leaves the source's open jobs as they were, so they are not
    confirmed.
    """
    cut = sorted({queue.scheduler for queue in answer.queues if not queue.complete})
    open_there = db.select(Job.id).where(Job.source_id == source.id, Job.open, Job.scheduler.in_(cut))
    if not cut or db.session.scalar(open_there.limit(1)) is None:
        return ""
    return f"{line(', '.join(cut), 60)} on the server did not answer. The last known states are shown."

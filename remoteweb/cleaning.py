"""Cleaning as part of a sync: once enough jobs have been over for long enough, it is asked for along with the rest."""

import time
from collections.abc import Mapping

from flask import current_app
from sqlalchemy import and_, bindparam, exists, select

from remotejobs.answer import Answer
from remotejobs.exchange import DAY, Cleaning
from remoteweb import audit
from remoteweb.database import db, table_of
from remoteweb.models import Job, Server, Source

ENOUGH = 200
# Of one sync; the next ones go on.
LIMIT = 500
# After one that found no more to do, and after one that could not do it.
PAUSE_SECONDS, RETRY_SECONDS = DAY, 3600.0

# The last of so many is there: at most so many entries of an index are looked at.
_job, _source, _server = table_of(Job).c, table_of(Source).c, table_of(Server).c
_IS_OVER = and_(_job.source_id == _source.id, ~_job.cleaned, ~_job.open, _job.ended < bindparam("before"))
_LAST = select(_job.id).where(_IS_OVER).offset(bindparam("skipped")).limit(1).correlate(table_of(Source))
# With a narrow key nothing is cleaned.
_IS_WIDE = exists().where(_server.id == _source.server_id, _server.narrow == "")
IS_DUE = and_(_IS_WIDE, _source.clean_at <= bindparam("now"), _LAST.scalar_subquery().is_not(None))


def over_since(now: float) -> dict[str, float]:
    """What IS_DUE, of a source, has to be told besides `now`."""
    return {"before": now - current_app.config["CLEAN_DAYS"] * DAY, "skipped": ENOUGH - 1}


def planned(due: Mapping[str, int]) -> list[Cleaning]:
    """What this sync asks for of those that are due, in the caller's transaction; a try that does not end well is repeated an
    hour later.
    """
    days, trash = current_app.config["CLEAN_DAYS"], current_app.config["TRASH_DAYS"]
    if not days or not due:
        return []
    _postpone(list(due.values()), time.time() + RETRY_SECONDS)
    return [Cleaning(app, LIMIT, days * DAY, trash * DAY if trash else None) for app in due]


def took_place(cleanings: list[Cleaning], answer: Answer, known: Mapping[str, int]) -> None:
    """In the caller's transaction: where there is more to do the next sync goes on; what could not be done is tried an hour
    later; else there is none for a day.
    """
    now = time.time()
    for app in (cleaning.app for cleaning in cleanings if cleaning.app in known):
        done = answer.cleaned.get(app)
        if done is not None:
            if done.records or done.folders or done.emptied:
                said = f"{done.records} records sealed, {done.folders} run folders to the trash, {done.emptied} removed"
                audit.note("cleaned", app, said, who=audit.PROGRAM)
            some = done.records or done.folders or done.emptied
            pause = PAUSE_SECONDS if not done.more else 0.0 if some else RETRY_SECONDS
            _postpone([known[app]], now + pause)


def _postpone(source_ids: list[int], until: float) -> None:
    db.session.execute(
        db.update(Source)
        .where(Source.id.in_(source_ids))
        .values(clean_at=until)
        .execution_options(synchronize_session=False)
    )

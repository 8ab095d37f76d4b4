"""Asking for a sync: a row that the sync worker takes. The page never goes out to a server itself."""

import time

from remoteweb import audit, changes, kept, sources
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Job, Server, Source, SyncRun


def ask(server: Server, asked_by: str = "person") -> SyncRun | None:
    """A row that waits for this server. One that waits already is given back: two taps are one sync.

    None if each of its sources is paused, or it lets nobody in without something typed: no worker would ever take the row.
    """
    server_id = server.id
    begin_writing()
    if not is_taken(server_id):
        db.session.rollback()
        return None
    waiting = db.session.scalar(
        db.select(SyncRun).where(SyncRun.server_id == server_id, SyncRun.state == "waiting").limit(1)
    )
    run = waiting or SyncRun(server_id=server_id, asked_by=asked_by, asked_at=time.time())
    db.session.add(run)
    if waiting is None and asked_by == "person":
        audit.note("asked for a sync of", server.label)
    db.session.commit()
    return run


def ask_all(asked_by: str = "person") -> list[SyncRun]:
    """Every server of the viewer's with a source that is not paused."""
    asked = [ask(server, asked_by) for server in sources.with_sources()]
    return [run for run in asked if run is not None]


def set_paused(source_id: int, paused: bool) -> Source | None:
    """Pause or resume, and tell of it where something waits for this source."""
    source = sources.set_paused(source_id, paused)
    if source is None:
        return None
    server_id = source.server_id
    begin_writing()
    if not _is_active(server_id):
        unclaimed = db.delete(SyncRun).where(SyncRun.server_id == server_id, SyncRun.state == "waiting")
        db.session.execute(unclaimed)
    asked_of = db.select(Action.job_id).where(
        Action.source_id == source_id, Action.state.in_(("waiting", "unknown"))
    )
    changes.publish(db.session.scalars(db.select(Job).where(Job.id.in_(asked_of))))
    db.session.commit()
    return source


def is_taken(server_id: int) -> bool:
    """Whether a worker would take a request."""
    return _is_active(server_id) and not _is_signed_out(server_id)


def _is_signed_out(server_id: int) -> bool:
    server = db.session.get(Server, server_id)
    return server is not None and server.asks and not kept.is_kept(server, time.time())


def _is_active(server_id: int) -> bool:
    active = db.select(Source.id).where(Source.server_id == server_id, Source.paused.is_(False)).limit(1)
    return db.session.scalar(active) is not None

"""Asking for a sync: a row that the sync worker takes. The page never goes out to a server itself."""

import time

from remoteweb.database import begin_writing, db
from remoteweb.models import Server, Source, SyncRun


def ask(server: Server, asked_by: str = "person") -> SyncRun:
    """A row that waits for this server. One that waits already is given back: two taps are one sync."""
    server_id = server.id
    begin_writing()
    waiting = db.session.scalar(
        db.select(SyncRun).where(SyncRun.server_id == server_id, SyncRun.state == "waiting").limit(1)
    )
    run = waiting or SyncRun(server_id=server_id, asked_by=asked_by, asked_at=time.time())
    db.session.add(run)
    db.session.commit()
    return run


def ask_all(asked_by: str = "person") -> list[SyncRun]:
    """Every server with a source that is not paused."""
    query = db.select(Server).where(Server.sources.any(Source.paused.is_(False))).order_by(Server.id)
    return [ask(server, asked_by) for server in db.session.scalars(query).all()]

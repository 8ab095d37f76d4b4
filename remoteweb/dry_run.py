"""`update-database --dry-run`: the actions that a sync would send, and nothing is sent."""

import time
from typing import Any

from remoteweb import sending
from remoteweb.attended import Target
from remoteweb.database import db
from remoteweb.models import Action, Source
from remoteweb.untrusted import line


def planned(targets: list[Target]) -> list[dict[str, Any]]:
    now = time.time()
    return [_row(target, action) for target in targets for action in sending.due(_source_ids(target), now)]


def sentence(row: dict[str, Any]) -> str:
    job = f" {row['job']} ({row['scheduler_id'] or row['key']})" if row["job"] else ""
    return f"{row['server']}: would {row['action']}{job}"


def _source_ids(target: Target) -> list[int]:
    query = db.select(Source.id).where(Source.server_id == target.server_id)
    if target.apps is None:
        return list(db.session.scalars(query.where(Source.paused.is_(False))))
    return list(db.session.scalars(query.where(Source.app.in_(target.apps))))


def _row(target: Target, action: Action) -> dict[str, Any]:
    job = action.job
    return {
        "server": target.label,
        "app": action.source.app,
        "action": action.kind,
        "job": line(job.name) if job else "",
        "key": job.key if job else "",
        "scheduler_id": job.scheduler_id if job else "",
        "asked_at": action.asked_at,
    }

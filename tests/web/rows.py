"""Rows for the tests of pages, made through the models: what a sync would have left in the tables."""

import hashlib
import json
import time
from typing import Any

from remoteweb import changes
from remoteweb.database import begin_writing, db
from remoteweb.groups import group_of
from remoteweb.models import Event, Job, Server, Source

APP = "remoteJobs-vistrails"


def server(host: str = "alps.example.org", alias: str = "alps", **columns: Any) -> Server:
    begin_writing()
    row = Server(user="me", host=host, port=22, alias=alias, **columns)
    db.session.add(row)
    db.session.commit()
    return row


def source(of: Server, app: str = APP, **columns: Any) -> Source:
    begin_writing()
    row = Source(server_id=of.id, app=app, **{"confirmed_at": time.time() - 60, **columns})
    db.session.add(row)
    db.session.commit()
    return row


def job(of: Source, name: str, state: str = "running", **columns: Any) -> Job:
    """A job in this state, published as a sync publishes it."""
    begin_writing()
    row = unsaved(of, name, state, **columns)
    db.session.add(row)
    changes.publish([row])
    db.session.add(Event(job_id=row.id, seen_at=time.time(), state=state, evidence=row.evidence))
    db.session.commit()
    return row


def unsaved(of: Source, name: str, state: str = "running", **columns: Any) -> Job:
    now = time.time()
    hash_, n = columns.pop("hash", hashlib.sha256(name.encode()).hexdigest()[:32]), columns.pop("n", 1)
    values: dict[str, Any] = {
        "key": f"{hash_}_{n}",
        "scheduler": "slurm",
        "cluster": "alps",
        "scheduler_id": str(int(hash_[:6], 16)),
        "submitted": now - 7200,
        "evidence": "accounting" if state in ("done", "failed", "cancelled") else "queue",
        "settings": json.dumps({"name": name, "command": "./run", "script": "#!/bin/sh\n./run\n"}),
    }
    if state not in ("submitted", "queued", "held"):
        values["started"] = now - 6600
    if state in ("done", "failed", "cancelled", "lost"):
        values["ended"] = now - 240
    values |= {"owner_id": of.server.owner_id, **columns}
    values.setdefault(
        "group", group_of(state, settling=values.get("settling", False), ended=values.get("ended"), now=now)
    )
    return Job(server_id=of.server_id, source_id=of.id, name=name, hash=hash_, n=n, state=state, **values)


def change(row: Job, **columns: Any) -> None:
    """What a sync does when something is different: the columns, the group, the revision, the change number."""
    begin_writing()
    for name, value in columns.items():
        setattr(row, name, value)
    row.group = group_of(row.state, settling=row.settling, ended=row.ended, now=time.time())
    row.revision += 1
    changes.publish([row])
    db.session.commit()

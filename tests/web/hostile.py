"""Rows in which every word that a server has a say in is hostile: as if nothing had been cleaned on the way in."""

import json
import time
from typing import Any

from web import rows
from web.payloads import PAYLOADS, payload

from remoteweb import audit
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Event, Job, Server, Source, SyncRun
from remoteweb.tails import Tail

STATES = ("running", "failed", "queued", "unknown", "done", "held", "lost", "cancelled")
ALL = " ".join(PAYLOADS)


def words(number: int) -> dict[str, str]:
    """The columns of a job that hold a server's words, each with another payload."""
    names = (
        "name",
        "partition",
        "nodes",
        "raw",
        "reason",
        "evidence",
        "cluster",
        "scheduler",
        "scheduler_id",
    )
    return {name: payload(number + place) for place, name in enumerate(names)}


def job(of: Source, number: int, **columns: Any) -> Job:
    values: dict[str, Any] = {**words(number), "exit_code": number % 3 or None, "limit": 7200, **columns}
    state = values.pop("state", STATES[number % len(STATES)])
    return rows.job(of, values.pop("name"), state, hash=f"{number:032x}", **values)


def whole_job(of: Source, state: str = "failed") -> Job:
    """All payloads in every field, in what was asked for, in its history, and in what became of a tap."""
    row = job(of, 9999, state=state, **dict.fromkeys(words(0), ALL), settings=json.dumps(settings()))
    begin_writing()
    for seen in ("held", "unknown", "suspended"):
        db.session.add(
            Event(job_id=row.id, seen_at=time.time(), state=seen, raw=ALL, evidence=ALL, reason=ALL)
        )
    action(of, row, "refused")
    now = time.time()
    db.session.add(Tail(job_id=row.id, stream="stdout", asked_at=now, read_at=now, size=9, text=ALL))
    db.session.add(Tail(job_id=row.id, stream="stderr", asked_at=now, read_at=now, sentence=ALL))
    db.session.commit()
    return row


def settings() -> dict[str, Any]:
    resources = {"walltime": ALL, "cores": ALL, "memory": ALL, "gpus": ALL, "extra": PAYLOADS}
    texts = dict.fromkeys(("name", "command", "before", "after", "script", "remote_path"), ALL)
    several = {"arguments": PAYLOADS, "environment": {text: text for text in PAYLOADS}}
    return {**texts, **several, "options": resources | dict.fromkeys(("partition", "account", "qos"), ALL)}


def action(of: Source, row: Job | None, state: str) -> None:
    """In the caller's transaction."""
    now = time.time()
    kind = "cancel" if row else "submit"
    key = f"{kind}-{row.id if row else 0}-{state}"
    values = {"uuid": key, "idem_key": key, "kind": kind, "state": state, "asked_at": now, "not_before": now}
    texts = {"outcome": ALL, "evidence": ALL, "asked_by": ALL, "ended_at": now}
    db.session.add(Action(source_id=of.id, job_id=row.id if row else None, **values, **texts))


def source(**columns: Any) -> Source:
    """A server and its source: names, errors, and what the last sync said."""
    of = rows.server(**{"host": ALL, "alias": ALL, "error": ALL, "error_since": time.time(), **columns})
    made = rows.source(of, app=ALL, error=f"Of its folder: {ALL}", unreadable=2, skipped=2)
    begin_writing()
    db.session.add(run(of, "done"))
    action(made, None, "refused")
    for text in PAYLOADS:
        audit.note(text, text, text)
    db.session.commit()
    return made


def run(of: Server, state: str, said: str = ALL) -> SyncRun:
    result = json.dumps([{"app": said, "jobs": 1, "changed": 1, "error": said}])
    texts = {"sentence": said, "stage": said, "holder": said, "asked_by": said, "results": result}
    return SyncRun(server_id=of.id, asked_at=time.time(), ended_at=time.time(), state=state, **texts)

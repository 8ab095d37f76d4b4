"""What a person asks of a job: rows that wait for the next sync. A tap is one INSERT; nothing here touches a server."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy.exc import IntegrityError

from remotejobs.errors import RemoteJobsError
from remoteweb import audit, changes
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Job, Server, Source

UNDO_SECONDS = 6.0
OPEN = ("waiting", "sending", "unknown")
_ASKED = {"cancel": "asked to cancel", "resubmit": "asked to run again"}


class JobGone(RemoteJobsError):
    """Somebody removed it between the page and the tap."""

    def __init__(self) -> None:
        super().__init__("It was removed here meanwhile. On its server, everything is as it was.")


def ask(
    job: Job,
    kind: str,
    idem_key: str,
    revision: int,
    asked_by: str = "",
    values: dict[str, str] | None = None,
) -> Action:
    """Ask for `cancel` or `resubmit`, the latter perhaps with other `values` for its limits.

    The same idem_key again, or another tap for the same thing, gives the first row back.

    So does a resubmission from a page that is older than one that was done: who tapped there did not know of it.
    `revision` is that of the job on the page, 0 if nobody looked. A cancel withdraws what else waits for that job.
    """
    begin_writing()
    earlier = _found(job.id, job.source_id, kind, idem_key) or _done_since(job.id, kind, revision)
    if earlier is not None:
        db.session.rollback()
        return earlier
    if kind == "cancel":
        for other in _waiting_besides(job.id, kind):
            end(other, "withdrawn", "Withdrawn: the job was cancelled instead.")
    action = Action(source_id=job.source_id, job_id=job.id, kind=kind, revision=revision, asked_by=asked_by)
    if values:
        action.values = msgspec.json.encode(values).decode()
    audit.note(_ASKED.get(kind, f"asked for {kind} of"), job.name, _place(job))
    return _insert(action, idem_key, job, UNDO_SECONDS)


def ask_submission(source: Source, values: dict[str, Any], idem_key: str, asked_by: str = "") -> Action:
    """Ask for a new job on this source: `values` is what `RemoteJobSubmitter.create_settings` gave."""
    begin_writing()
    earlier = _same(source.id, idem_key)
    if earlier is not None:
        db.session.rollback()
        return earlier
    action = Action(
        source_id=source.id, kind="submit", values=msgspec.json.encode(values).decode(), asked_by=asked_by
    )
    audit.note("asked to submit", str(values.get("name") or ""), f"to {source.app} on {source.server.label}")
    return _insert(action, idem_key, source, 0.0)


def withdraw(action: Action) -> bool:
    """Undo, while it still waits. False: it is on its way already, or over."""
    begin_writing()
    taken_back = db.session.scalar(
        db.update(Action)
        .where(Action.id == action.id, Action.state == "waiting")
        .values(state="withdrawn", outcome="Withdrawn.", ended_at=time.time())
        .returning(Action.id)
    )
    changes.publish([shown(action)] if taken_back else [])
    if taken_back:
        audit.note("took back", *_named(action))
    db.session.commit()
    return taken_back is not None


def withdraw_all(owner_id: int, sentence: str) -> None:
    """All that waits at the servers of this account, in the caller's transaction."""
    begin_writing()
    waiting = db.select(Action.id).join(Source, Source.id == Action.source_id).join(Server)
    ids = db.session.scalars(waiting.where(Server.owner_id == owner_id, Action.state == "waiting")).all()
    taken_back = [action for action in load(ids) if action.state == "waiting"]  # else a sync was quicker
    for action in taken_back:
        end(action, "withdrawn", sentence)
    db.session.flush()
    changes.publish([shown(action) for action in taken_back])


def send_now(action: Action) -> None:
    """No more time for undo: the next sync takes it at once."""
    begin_writing()
    sent = db.session.scalar(
        db.update(Action)
        .where(Action.id == action.id, Action.state == "waiting")
        .values(not_before=time.time())
        .returning(Action.id)
    )
    if sent:
        audit.note("asked to send now", *_named(action))
    db.session.commit()


def _named(action: Action) -> tuple[str, str]:
    """What it asks for, as the audit log tells it."""
    if action.job is None:
        return "a submission", f"to {action.source.app} on {action.source.server.label}"
    return f"{action.kind} of {action.job.name}", _place(action.job)


def _place(job: Job) -> str:
    return f"job {job.scheduler_id or job.key} on {job.server.label}"


def _found(job_id: int, source_id: int | None, kind: str, idem_key: str) -> Action | None:
    """A button's key is that of one source: in the hands of another account it finds nothing."""
    same = db.and_(Action.idem_key == idem_key, Action.source_id == source_id)
    open_one = db.and_(Action.job_id == job_id, Action.kind == kind, Action.state.in_(OPEN))
    same_or_open = db.select(Action).where(db.or_(same, open_one))
    found: Action | None = db.session.scalar(same_or_open.order_by(Action.idem_key != idem_key).limit(1))
    return found


def _same(source_id: int, idem_key: str) -> Action | None:
    same = db.select(Action).where(Action.idem_key == idem_key, Action.source_id == source_id)
    found: Action | None = db.session.scalar(same)
    return found


def _waiting_besides(job_id: int, kind: str) -> list[Action]:
    """Locked: on PostgreSQL a sync may be claiming one of them at this moment, and then it waits no more."""
    others = db.select(Action).where(Action.job_id == job_id, Action.kind != kind, Action.state == "waiting")
    locked = others.with_for_update().execution_options(populate_existing=True)
    return list(db.session.scalars(locked))


def _done_since(job_id: int, kind: str, revision: int) -> Action | None:
    """A cancel can be repeated without harm; a second run costs its hours."""
    if kind != "resubmit" or not revision:
        return None
    done: Action | None = db.session.scalar(
        db.select(Action)
        .where(Action.job_id == job_id, Action.kind == kind, Action.state == "done")
        .where(Action.revision >= revision)
        .order_by(Action.id.desc())
        .limit(1)
    )
    return done


def _insert(action: Action, idem_key: str, of: Job | Source, undo: float) -> Action:
    now = time.time()
    action.uuid, action.idem_key = str(uuid.uuid4()), idem_key
    action.asked_at, action.not_before = now, now + undo
    job_id, source_id, kind = action.job_id, action.source_id, action.kind
    db.session.add(action)
    try:
        changes.publish([of])
        db.session.commit()
    except IntegrityError as error:
        # On PostgreSQL another tap can come between our look and our INSERT: its row is the answer.
        db.session.rollback()
        first = _same(source_id, idem_key)
        if job_id is not None:
            first = _found(job_id, source_id, kind, idem_key)
        if first is None:
            raise JobGone from error  # what it refers to is not there any more
        return first
    return action


def end(action: Action, state: str, sentence: str) -> None:
    action.state, action.outcome, action.ended_at, action.lease_until = state, sentence, time.time(), 0.0


def load(ids: Iterable[int]) -> list[Action]:
    """As the database has them now, in the order of the taps; locked, since they are loaded to be changed."""
    query = db.select(Action).where(Action.id.in_(ids)).order_by(Action.id).with_for_update()
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def shown(action: Action) -> Job | Source:
    """Whose line on a page tells of it."""
    return action.job or action.source

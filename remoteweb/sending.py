"""Waiting actions out to the server: which are due, and each of them as the exchange takes it.

waiting -> sending is one conditional UPDATE, committed before the wire is touched. Whatever is not known
afterwards is sent again under the same uuid: the server does each uuid once.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, exists, or_, select

from remotejobs.document import document as record_of
from remotejobs.exchange import Cancel, Resubmission, Submission
from remotejobs.records import JobKey
from remotejobs.settings import changes as changed_options
from remotejobs.settings import work_hash
from remoteweb import actions, changes, leases
from remoteweb.database import begin_writing, db
from remoteweb.leases import Lease
from remoteweb.models import Action, Job, Server, Source
from remoteweb.untrusted import line

# In one exchange; the rest waits visibly for the next one.
BATCH = 500
# As the server does, by its own clock: a tap of last week is not what its person wants now.
TOO_OLD_SECONDS = 7 * 86400.0
# What a dry run takes for still going on. A sync itself asks the fence: it holds the server's lease.
SENDING_SECONDS = 120.0
# The code of an outcome that a later exchange has to know of: the scheduler was told of the cancel.
TOLD = "told"

NEVER_KNOWN = "It is not known whether it was sent: for 7 days no answer told. It is not tried again; look at the job itself."
# All that this database knows. One that is a restored copy may have done it in its former life.
_NEVER_BEGUN = (
    "Given up: it has waited for more than 7 days, and nothing here says that it was ever begun. "
    "Ask again if you still want it."
)


@dataclass(frozen=True, slots=True)
class Sent:
    """An action under way, with what its outcome is counted for."""

    id: int
    kind: str
    app: str
    request: Cancel | Resubmission | Submission


def due(source_ids: Iterable[int], now: float, fence: int | None = None) -> list[Action]:
    """What a sync of these sources would send; `fence` is that of its lease. Reading only."""
    return list(
        db.session.scalars(
            db.select(Action)
            .where(_is_due(now, fence), Action.source_id.in_(source_ids))
            .order_by(Action.id)
            .limit(BATCH)
        )
    )


def claim(lease: Lease, source_ids: list[int]) -> list[Sent]:
    """Takes what is due for this exchange; from here on nothing of it can be undone."""
    now = time.time()
    begin_writing()
    leases.still_ours(lease)
    shown = _give_up_the_old(source_ids, now, lease.fence)
    ids = db.session.scalars(
        db.update(Action)
        .where(
            Action.id.in_([action.id for action in due(source_ids, now, lease.fence)]),
            _is_due(now, lease.fence),
        )
        .values(state="sending", fence=lease.fence, lease_until=now + SENDING_SECONDS, tries=Action.tries + 1)
        .returning(Action.id)
        .execution_options(synchronize_session=False)
    ).all()
    claimed = actions.load(ids)
    skew = db.session.scalar(db.select(Server.skew).where(Server.id == lease.server_id)) or 0.0
    sent = [request for action in claimed if (request := _request(action, skew)) is not None]
    changes.publish(shown + [actions.shown(action) for action in claimed])
    db.session.commit()
    return sent


def _is_due(now: float | BindParameter[float], fence: int | BindParameter[int] | None) -> ColumnElement[bool]:
    # Who was sending under an older lease of this server is gone, or too late: the uuid makes it once all the same.
    is_left = Action.lease_until < now if fence is None else Action.fence < fence
    return or_(
        and_(Action.state == "waiting", Action.not_before <= now),
        Action.state == "unknown",
        and_(Action.state == "sending", is_left),
    )


def is_due_of(source_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a sync of this source has an action to send, at the time `now` and under a lease with the fence `held`."""
    due_there = select(Action.id).where(_is_due(bindparam("now"), bindparam("held")))
    return exists(due_there.where(Action.source_id == source_id))


def _give_up_the_old(source_ids: list[int], now: float, fence: int) -> list[Job | Source]:
    old = db.session.scalars(
        db.select(Action)
        .where(_is_due(now, fence), Action.source_id.in_(source_ids))
        .where(Action.asked_at < now - TOO_OLD_SECONDS)
        .order_by(Action.id)
        .with_for_update()  # one of them may be withdrawn at this moment
        .execution_options(populate_existing=True)
    ).all()
    for action in old:
        if action.tries:
            actions.end(action, "gave_up", NEVER_KNOWN)
        else:
            actions.end(action, "gave_up", _NEVER_BEGUN)
    db.session.flush()
    return [actions.shown(action) for action in old]


def _request(action: Action, skew: float) -> Sent | None:
    """The action as the exchange takes it. One that cannot be said is refused here, with a sentence."""
    asked_at = action.asked_at + skew  # by the server's clock, which decides what is too old
    try:
        if action.kind == "submit":
            request: Cancel | Resubmission | Submission = _submission(action, asked_at)
        elif action.job is None or not action.job.key:
            raise ValueError("the job has no record of ours on the server")
        elif action.kind == "cancel":
            told = action.evidence == TOLD
            request = Cancel(action.uuid, action.source.app, JobKey.parse(action.job.key), told)
        elif action.kind == "resubmit":
            other = _changes(action)
            request = Resubmission(
                action.uuid, action.source.app, JobKey.parse(action.job.key), asked_at, other
            )
        else:
            raise ValueError(f"this version cannot {line(action.kind, 40)}")
    except ValueError as error:
        actions.end(action, "refused", f"Not sent: {error}.")
        return None
    return Sent(action.id, action.kind, action.source.app, request)


def _changes(action: Action) -> tuple[str, ...]:
    values = msgspec.json.decode(action.values)
    if not isinstance(values, dict):
        raise ValueError("what was to be changed cannot be read")
    return changed_options(**values)


def _submission(action: Action, asked_at: float) -> Submission:
    values = msgspec.json.decode(action.values)
    if not isinstance(values, dict) or values.get("scheduler") in (None, "auto"):
        raise ValueError("its settings do not name a scheduler")
    try:
        document, hash_ = record_of(values), work_hash(values)
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"its settings cannot be read ({error})") from error
    return Submission(action.uuid, action.source.app, hash_, values["scheduler"], document, asked_at)

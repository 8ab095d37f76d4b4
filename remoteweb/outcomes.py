"""Waiting actions out to the server, and what became of them back into their rows.

waiting -> sending is one conditional UPDATE, committed before the wire is touched. Whatever is not known
afterwards is
sent again under the same uuid: the server does each uuid once.

What waits can be undone, so a row waits only while no try of it can have been carried out: its `tries` are 0.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, and_, or_

from remotejobs.answer import Outcome
from remotejobs.document import document as record_of
from remotejobs.exchange import Cancel, Resubmission, Submission
from remotejobs.records import JobKey
from remotejobs.settings import work_hash
from remoteweb import changes, leases
from remoteweb.database import begin_writing, db
from remoteweb.leases import Lease
from remoteweb.models import Action, Job, Server, Source
from remoteweb.runs import SourceResult
from remoteweb.untrusted import line

SOON_TRIES = 3
# In one exchange; the rest waits visibly for the next one.
BATCH = 500
# As the server does, by its own clock: a tap of last week is not what its person wants now.
TOO_OLD_SECONDS = 7 * 86400.0
# What a dry run takes for still going on. A sync itself asks the fence: it holds the server's lease.
SENDING_SECONDS = 120.0

# Codes of outcomes: a cancel that the scheduler was told of, and a job that had ended before.
TOLD, WAS_OVER = "told", "was-over"

_NOT_KNOWN = (
    "It is not known yet whether the server did it. The next sync settles it; it is never done twice."
)
_UNREAD = (
    "The records there could not be read, so it is not known whether the server did it. It is sent again."
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
    if not due(source_ids, now, lease.fence):
        db.session.rollback()
        return []
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
    claimed = _load(ids)
    skew = db.session.scalar(db.select(Server.skew).where(Server.id == lease.server_id)) or 0.0
    sent = [request for action in claimed if (request := _request(action, skew)) is not None]
    changes.publish(shown + [_shown(action) for action in claimed])
    db.session.commit()
    return sent


def settle(
    lease: Lease,
    sent: list[Sent],
    outcomes: dict[str, Outcome],
    results: dict[str, SourceResult],
    unread: set[str],
) -> None:
    """What the server said of each. What it did not mention is unknown.

    `unread`: the apps whose folder could not be read, so "no such job" may only mean "not seen".
    """
    if not sent:
        return
    begin_writing()
    leases.still_ours(lease)
    by_uuid = {item.request.uuid: item for item in sent}
    actions = _ours(lease, sent)
    for action in actions:
        app = by_uuid[action.uuid].app
        outcome = outcomes.get(action.uuid) or Outcome(action.uuid, "unknown", _NOT_KNOWN)
        if app in unread and outcome.state != "done":
            outcome = Outcome(action.uuid, "unknown", _UNREAD)
        _apply(action, outcome)
        _count(results[app], action)
    changes.publish([_shown(action) for action in actions])
    db.session.commit()


def put_back(lease: Lease, sent: list[Sent], *, wire_was_touched: bool) -> None:
    """The exchange failed.

    What cannot have reached the server, by no try of it, waits again (and can be undone); the rest is unknown.
    """
    if not sent:
        return
    begin_writing()
    actions = _ours(lease, sent)
    for action in actions:
        if wire_was_touched:
            _stay_unknown(action, _NOT_KNOWN)
        else:
            _was_not_begun(action, "")
    changes.publish([_shown(action) for action in actions])
    db.session.commit()


def _is_due(now: float, fence: int | None) -> ColumnElement[bool]:
    # Who was sending under an older lease of this server is gone, or too late: the uuid makes it once all the same.
    is_left = Action.lease_until < now if fence is None else Action.fence < fence
    return or_(
        and_(Action.state == "waiting", Action.not_before <= now),
        Action.state == "unknown",
        and_(Action.state == "sending", is_left),
    )


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
            request = Resubmission(action.uuid, action.source.app, JobKey.parse(action.job.key), asked_at)
        else:
            raise ValueError(f"this version cannot {line(action.kind, 40)}")
    except ValueError as error:
        _end(action, "refused", f"Not sent: {error}.")
        return None
    return Sent(action.id, action.kind, action.source.app, request)


def _submission(action: Action, asked_at: float) -> Submission:
    values = msgspec.json.decode(action.values)
    if not isinstance(values, dict) or values.get("scheduler") in (None, "auto"):
        raise ValueError("its settings do not name a scheduler")
    try:
        document, hash_ = record_of(values), work_hash(values)
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"its settings cannot be read ({error})") from error
    return Submission(action.uuid, action.source.app, hash_, values["scheduler"], document, asked_at)


def _apply(action: Action, outcome: Outcome) -> None:
    # What was told to the scheduler stays told, whatever a later exchange could not find out.
    if outcome.code and not (action.evidence == TOLD and outcome.state in ("unknown", "not_started")):
        action.evidence = line(outcome.code, 60)
    sentence = line(outcome.sentence, 500)
    if outcome.state == "not_started":
        _was_not_begun(action, sentence or "The server had no time left for it. The next sync sends it.")
    elif outcome.state in ("done", "refused"):
        _end(action, outcome.state, sentence)
        action.new_key = str(outcome.key) if outcome.key else ""
        if outcome.state == "done" and action.kind == "resubmit":
            _outdate_pages(action)
    else:
        _stay_unknown(action, sentence or _NOT_KNOWN)


def _outdate_pages(resubmission: Action) -> None:
    """A page with any revision until now does not know of the new run: another tap there means this one."""
    job = resubmission.job
    if job is not None:
        resubmission.revision = max(resubmission.revision, job.revision)
        job.revision += 1


def _was_not_begun(action: Action, sentence: str) -> None:
    """By this try. One before it may have been carried out all the same, and then nothing can be taken back."""
    if action.tries > 1:
        _stay_unknown(action, _NOT_KNOWN)
    else:
        action.state, action.outcome, action.lease_until, action.tries = "waiting", sentence, 0.0, 0


def _stay_unknown(action: Action, sentence: str) -> None:
    action.state, action.outcome, action.lease_until = "unknown", sentence, 0.0


def _end(action: Action, state: str, sentence: str) -> None:
    action.state, action.outcome, action.ended_at, action.lease_until = state, sentence, time.time(), 0.0


def _count(result: SourceResult, action: Action) -> None:
    # What does not settle in a few tries (a job that will not die) is asked about at the usual pace.
    result.is_followed |= action.state == "done" or (action.state == "unknown" and action.tries <= SOON_TRIES)
    if action.state == "done" and action.kind == "cancel":
        result.cancelled += action.evidence != WAS_OVER
    elif action.state == "done":
        result.submitted += 1
    elif action.state == "refused":
        result.refused += 1
    elif action.state == "unknown":
        result.unknown += 1


def _give_up_the_old(source_ids: list[int], now: float, fence: int) -> list[Job | Source]:
    old = db.session.scalars(
        db.select(Action).where(
            _is_due(now, fence), Action.source_id.in_(source_ids), Action.asked_at < now - TOO_OLD_SECONDS
        )
    ).all()
    for action in old:
        if action.tries:
            _end(action, "gave_up", "Given up after 7 days: whether the server did it never became known.")
        else:
            _end(
                action,
                "gave_up",
                "Given up: for 7 days the server was out of reach or had no time for it. It was never begun.",
            )
    db.session.flush()
    return [_shown(action) for action in old]


def _load(ids: Iterable[int]) -> list[Action]:
    query = db.select(Action).where(Action.id.in_(ids)).order_by(Action.id)
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def _ours(lease: Lease, sent: list[Sent]) -> list[Action]:
    """Those that no later sync has claimed meanwhile."""
    return [
        action
        for action in _load([item.id for item in sent])
        if action.state == "sending" and action.fence == lease.fence
    ]


def _shown(action: Action) -> Job | Source:
    """Whose line on a page tells of it."""
    return action.job or action.source

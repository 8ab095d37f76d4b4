"""What became of the actions that a sync sent, back into their rows.

What waits can be undone, so a row waits only while no try of it can have been carried out: its `tries` are 0.
"""

from remotejobs.answer import Outcome
from remoteweb import actions, changes, leases
from remoteweb.database import begin_writing, db
from remoteweb.leases import Lease
from remoteweb.models import Action
from remoteweb.runs import SourceResult
from remoteweb.sending import NEVER_KNOWN, TOLD, Sent
from remoteweb.untrusted import line

SOON_TRIES = 3
# The code of an outcome: the job had ended before its cancel.
WAS_OVER = "was-over"
# Another: the server does not do any more what was asked so long ago, by its own clock.
TOO_OLD = "too-old"

_NOT_KNOWN = (
    "It is not known yet whether the server did it. The next sync settles it; it is never done twice."
)
_UNREAD = (
    "The records there could not be read, so it is not known whether the server did it. It is sent again."
)


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
    rows = _ours(lease, sent)
    for action in rows:
        app = by_uuid[action.uuid].app
        outcome = outcomes.get(action.uuid) or Outcome(action.uuid, "unknown", _NOT_KNOWN)
        if app in unread and outcome.state != "done":
            outcome = Outcome(action.uuid, "unknown", _UNREAD)
        _apply(action, outcome)
        _count(results[app], action)
    changes.publish([actions.shown(action) for action in rows])
    db.session.commit()


def put_back(lease: Lease, sent: list[Sent], *, wire_was_touched: bool) -> None:
    """The exchange failed.

    What cannot have reached the server, by no try of it, waits again (and can be undone); the rest is unknown.
    """
    if not sent:
        return
    begin_writing()
    leases.locked(lease.server_id)
    rows = _ours(lease, sent)
    for action in rows:
        if wire_was_touched:
            _stay_unknown(action, _NOT_KNOWN)
        else:
            _was_not_begun(action, "")
    changes.publish([actions.shown(action) for action in rows])
    db.session.commit()


def _ours(lease: Lease, sent: list[Sent]) -> list[Action]:
    """Those that no later sync has claimed meanwhile."""
    return [
        action
        for action in actions.load([item.id for item in sent])
        if action.state == "sending" and action.fence == lease.fence
    ]


def _apply(action: Action, outcome: Outcome) -> None:
    # What was told to the scheduler stays told, whatever a later exchange could not find out.
    if outcome.code and not (action.evidence == TOLD and outcome.state in ("unknown", "not_started")):
        action.evidence = line(outcome.code, 60)
    sentence = line(outcome.sentence, 500)
    if outcome.state == "not_started":
        _was_not_begun(action, sentence or "The server had no time left for it. The next sync sends it.")
    elif outcome.code == TOO_OLD and action.tries > 1:
        # Nothing was done now. What an earlier try did can no longer be asked.
        actions.end(action, "gave_up", NEVER_KNOWN)
    elif outcome.state in ("done", "refused"):
        actions.end(action, outcome.state, sentence)
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

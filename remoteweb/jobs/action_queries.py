"""What the pages ask of the actions: what a row tells of a tap, and what is not in the list yet."""

from collections.abc import Sequence

from sqlalchemy import Select, and_, bindparam, exists, literal_column, or_, select
from sqlalchemy.orm import joinedload

from remoteweb.database import db
from remoteweb.groups import Group
from remoteweb.jobs.queries import LATEST, OWN_SOURCES, THESE, seen
from remoteweb.models import Action, Job

OPEN_STATES = ("waiting", "sending", "unknown")

_ASKED = select(Action).where(Action.job_id.in_(THESE), Action.state != "withdrawn").order_by(Action.id)


def last_actions(ids: Sequence[int]) -> dict[int, Action]:
    """What was last asked of each of these jobs, unless it was taken back: an open action before one that ended."""
    last: dict[int, Action] = {}
    for action in db.session.scalars(_ASKED, {"ids": ids}):
        if action.job_id is None:
            continue
        before = last.get(action.job_id)
        if before is None or before.state not in OPEN_STATES or action.state in OPEN_STATES:
            last[action.job_id] = action
    return last


def actions(of: Job) -> list[Action]:
    asked = select(Action).where(Action.job_id == of.id).order_by(Action.id.desc()).limit(LATEST)
    return list(reversed(db.session.scalars(asked).all()))


def _submissions() -> Select[Action]:
    refused = and_(Action.state.in_(("refused", "gave_up")), Action.ended_at > bindparam("since"))
    concerned = or_(Action.state.in_(OPEN_STATES), refused)
    # By the index of a source's open actions: the plus keeps off the one that would walk every submission there ever was.
    is_submission = literal_column("+action.job_id").is_(None)
    by_state = Action.state.in_((*OPEN_STATES, "refused", "gave_up"))
    statement = select(Action).where(Action.source_id.in_(OWN_SOURCES), by_state, is_submission, concerned)
    return statement.order_by(Action.id.desc()).limit(5).options(joinedload(Action.source))


_SUBMISSIONS = _submissions()


def submissions(since: float) -> list[Action]:
    """New jobs that were asked for and are not in the list yet, and those that were refused since then."""
    return list(db.session.scalars(_SUBMISSIONS, {"since": since}))


_MOVES = select(
    or_(
        exists(seen(select(Job.id)).where(Job.group.in_((int(Group.RUNNING), int(Group.WAITING))))),
        exists(select(Action.id).where(Action.source_id.in_(OWN_SOURCES), Action.state.in_(OPEN_STATES))),
    )
)


def anything_moves() -> bool:
    """A job is running or waiting, or an action is under way."""
    return bool(db.session.scalar(_MOVES))


def action(uuid: str) -> Action | None:
    own = select(Action).where(Action.uuid == uuid, Action.source_id.in_(OWN_SOURCES))
    return db.session.scalar(own.options(joinedload(Action.job), joinedload(Action.source)))

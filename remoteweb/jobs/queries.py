"""What the pages ask of the tables. Each query walks an index and stops: none grows with the number of jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, Select, and_, func, literal, literal_column, or_, select
from sqlalchemy.orm import defer, joinedload

from remoteweb import viewer
from remoteweb.database import db
from remoteweb.groups import Group
from remoteweb.jobs.filters import Cursor, Filter
from remoteweb.models import Action, Event, Job, Server, Source

PAGE = 30
COUNTED = 1000  # counting stops here: a page says "999+"
LATEST = 20
Scopes = Sequence[ColumnElement[bool] | None]
EVERYWHERE: Scopes = (None,)
_FOR_ROWS = (
    joinedload(Job.server, innerjoin=True),
    joinedload(Job.source),
    defer(Job.settings),
    defer(Job.facts),
)
Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])

OPEN_STATES = ("waiting", "sending", "unknown")


def seen(statement: Rows) -> Rows:
    """Who may see a job is asked here and in the next two, by every query below. Here the walk is the owner's own."""
    return statement.where(Job.owner_id == viewer.current().owner_id)


def seen_of_these(statement: Rows) -> Rows:
    """The same where something else finds the rows: ids, or a source. The plus leaves SQLite no index to choose but that
    one; without its statistics it would read all that the owner has.
    """
    return statement.where(literal_column("+job.owner_id", Integer) == viewer.current().owner_id)


def _own_sources() -> Select[int]:
    owned = Server.owner_id == viewer.current().owner_id
    return select(Source.id).join(Server, Server.id == Source.server_id).where(owned)


@dataclass(frozen=True, slots=True)
class Page:
    jobs: list[Job]
    more: Cursor | None  # where the next page begins


def page(chosen: Filter, after: Cursor | None = None) -> Page:
    """One page without a search."""
    found: list[Cursor] = []
    within = scopes(chosen)
    for group in chosen.groups:
        if after is None or group >= after.group:
            found += places(within, group, after, PAGE + 1 - len(found))
        if len(found) > PAGE:
            break
    return Page(in_order(place.id for place in found[:PAGE]), found[PAGE - 1] if len(found) > PAGE else None)


def places(within: Scopes, group: Group, after: Cursor | None, limit: int) -> list[Cursor]:
    """The next rows of one group, by the index alone."""
    walks = [_walk(where, group, after, limit) for where in within]
    if len(walks) == 1:
        return walks[0]
    return sorted((place for walk in walks for place in walk), key=lambda at: (-at.change, -at.id))[:limit]


def _walk(where: ColumnElement[bool] | None, group: Group, after: Cursor | None, limit: int) -> list[Cursor]:
    statement = _within(where, select(Job.change, Job.id)).where(Job.group == int(group))
    if after is not None and after.group == group:
        statement = statement.where(
            Job.change <= after.change, or_(Job.change < after.change, Job.id < after.id)
        )
    rows = db.session.execute(statement.order_by(Job.change.desc(), Job.id.desc()).limit(limit))
    return [Cursor(int(group), change, id_) for change, id_ in rows]


def _within(where: ColumnElement[bool] | None, statement: Rows) -> Rows:
    return seen(statement) if where is None else seen_of_these(statement.where(where))


def scopes(chosen: Filter) -> Scopes:
    """One condition per index walk: each source of the server has its own order."""
    if chosen.server is None:
        return EVERYWHERE
    return [Job.source_id == id_ for id_ in source_ids(chosen.server)]


def source_ids(server: int) -> Sequence[int]:
    return db.session.scalars(_own_sources().where(Source.server_id == server)).all()


def in_order(ids: Iterable[int]) -> list[Job]:
    """The jobs with these ids, in this order, with their server and source, for rows: without their records."""
    wanted = list(ids)
    if not wanted:
        return []
    loaded = select(Job).where(Job.id.in_(wanted)).options(*_FOR_ROWS)
    rows = {job.id: job for job in db.session.scalars(seen_of_these(loaded))}
    return [rows[id_] for id_ in wanted if id_ in rows]


def counts(chosen: Filter) -> dict[Group, int]:
    """Per group, at most COUNTED, whatever view is chosen. Without regard to the search."""
    within = scopes(chosen)
    return {group: sum(_count(where, group) for where in within) for group in Group}


def _count(where: ColumnElement[bool] | None, group: Group) -> int:
    one = select(literal(1, literal_execute=True)).select_from(Job)
    statement = _within(where, one).where(Job.group == int(group))
    return db.session.scalar(select(func.count()).select_from(statement.limit(COUNTED).subquery())) or 0


def changed_since(number: int, limit: int) -> list[Job]:
    """The jobs with a change above this number, oldest change first, at most `limit` of each group."""
    found: list[Cursor] = []
    for group in Group:
        statement = seen(select(Job.change, Job.id)).where(Job.group == int(group), Job.change > number)
        rows = db.session.execute(statement.order_by(Job.change.desc()).limit(limit))
        found += [Cursor(int(group), change, id_) for change, id_ in rows]
    return in_order(place.id for place in sorted(found, key=lambda at: (at.change, at.id)))


def sources_changed_since(number: int) -> bool:
    return db.session.scalar(_own_sources().where(Source.change > number).limit(1)) is not None


def any_job() -> bool:
    return db.session.scalar(seen(select(Job.id)).limit(1)) is not None


def job(id_: int) -> Job | None:
    return db.session.scalar(
        seen_of_these(select(Job))
        .where(Job.id == id_)
        .options(joinedload(Job.server), joinedload(Job.source))
    )


def runs(of: Job) -> list[Job]:
    """The runs of the same work, latest first: this one is among them unless there are very many."""
    if of.source_id is None or not of.hash:
        return []
    same = seen_of_these(select(Job)).where(Job.source_id == of.source_id, Job.hash == of.hash)
    return list(db.session.scalars(same.order_by(Job.n.desc()).limit(LATEST)))


def run_of_key(source_id: int, hash_: str, n: int) -> Job | None:
    return db.session.scalar(
        seen_of_these(select(Job)).where(Job.source_id == source_id, Job.hash == hash_, Job.n == n).limit(1)
    )


def events(of: Job) -> list[Event]:
    latest = select(Event).where(Event.job_id == of.id).order_by(Event.id.desc()).limit(LATEST)
    return list(reversed(db.session.scalars(latest).all()))


def last_actions(ids: Sequence[int]) -> dict[int, Action]:
    """What was last asked of each of these jobs, unless it was taken back: an open action before one that ended."""
    last: dict[int, Action] = {}
    statement = select(Action).where(Action.job_id.in_(ids), Action.state != "withdrawn").order_by(Action.id)
    for action in db.session.scalars(statement):
        if action.job_id is None:
            continue
        before = last.get(action.job_id)
        if before is None or before.state not in OPEN_STATES or action.state in OPEN_STATES:
            last[action.job_id] = action
    return last


def actions(of: Job) -> list[Action]:
    asked = select(Action).where(Action.job_id == of.id).order_by(Action.id.desc()).limit(LATEST)
    return list(reversed(db.session.scalars(asked).all()))


def submissions(since: float) -> list[Action]:
    """New jobs that were asked for and are not in the list yet, and those that were refused since then."""
    refused = and_(Action.state.in_(("refused", "gave_up")), Action.ended_at > since)
    concerned = or_(Action.state.in_(OPEN_STATES), refused)
    # By the index of a source's open actions: the plus keeps off the one that would walk every submission there ever was.
    is_submission = literal_column("+action.job_id").is_(None)
    by_state = Action.state.in_((*OPEN_STATES, "refused", "gave_up"))
    statement = select(Action).where(Action.source_id.in_(_own_sources()), by_state, is_submission, concerned)
    latest = statement.order_by(Action.id.desc()).limit(5)
    return list(db.session.scalars(latest.options(joinedload(Action.source))))


def any_open_action() -> bool:
    is_open = select(Action.id).where(Action.source_id.in_(_own_sources()), Action.state.in_(OPEN_STATES))
    return db.session.scalar(is_open.limit(1)) is not None


def action(uuid: str) -> Action | None:
    own = select(Action).where(Action.uuid == uuid, Action.source_id.in_(_own_sources()))
    return db.session.scalar(own.options(joinedload(Action.job), joinedload(Action.source)))


def servers() -> list[Server]:
    own = select(Server).where(Server.owner_id == viewer.current().owner_id)
    return list(db.session.scalars(own.order_by(Server.host != "", Server.alias, Server.host, Server.id)))

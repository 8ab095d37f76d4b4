"""What the pages ask of the tables. Each query walks an index and stops: none grows with the number of jobs.

What the list asks is made once, with places for its values: to make a statement takes longer than to run it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    Integer,
    Select,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import defer, joinedload

from remoteweb import viewer
from remoteweb.database import db
from remoteweb.groups import Group
from remoteweb.jobs.filters import Cursor, Filter
from remoteweb.models import Event, Job, Server, Source

PAGE = 30
COUNTED = 1000  # counting stops here: a page says "999+"
LATEST = 20
Scopes = Sequence[int | None]
EVERYWHERE: Scopes = (None,)
_FOR_ROWS = (
    joinedload(Job.server, innerjoin=True),
    joinedload(Job.source),
    defer(Job.settings),
    defer(Job.facts),
)
Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])


# Whoever looks when the statement runs.
_OWNER = bindparam("owner", callable_=lambda: viewer.current().owner_id, type_=Integer)


def seen(statement: Rows) -> Rows:
    """Who may see a job is asked here and in the next two, by every query below. Here the walk is the owner's own."""
    return statement.where(Job.owner_id == _OWNER)


def seen_of_these(statement: Rows) -> Rows:
    """The same where something else finds the rows: ids, or a source. The plus leaves SQLite no index to choose but that
    one; without its statistics it would read all that the owner has.
    """
    return statement.where(literal_column("+job.owner_id", Integer) == _OWNER)


OWN_SOURCES = select(Source.id).join(Server, Server.id == Source.server_id).where(Server.owner_id == _OWNER)


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
    goes_on = after is not None and after.group == group
    values: dict[str, int] = {"group": int(group), "limit": limit}
    if after is not None and goes_on:
        values |= {"change": after.change, "id": after.id}
    walks = [
        db.session.execute(_walk(source_id is not None, goes_on), {**values, "source": source_id}).all()
        for source_id in within
    ]
    found = [Cursor(int(group), change, id_) for walk in walks for change, id_ in walk]
    return found if len(walks) == 1 else sorted(found, key=lambda at: (-at.change, -at.id))[:limit]


@cache
def _walk(in_source: bool, goes_on: bool) -> Select[int, int]:
    statement = _within(in_source, select(Job.change, Job.id)).where(Job.group == bindparam("group"))
    if goes_on:
        earlier = or_(Job.change < bindparam("change"), Job.id < bindparam("id"))
        statement = statement.where(Job.change <= bindparam("change"), earlier)
    return statement.order_by(Job.change.desc(), Job.id.desc()).limit(bindparam("limit"))


def _within(in_source: bool, statement: Rows) -> Rows:
    return (
        seen_of_these(statement.where(Job.source_id == bindparam("source"))) if in_source else seen(statement)
    )


def scopes(chosen: Filter) -> Scopes:
    """One source per index walk: each one of the server has its own order. None: all jobs, in one walk."""
    if chosen.server is None:
        return EVERYWHERE
    return source_ids(chosen.server)


def source_ids(server: int) -> Sequence[int]:
    return db.session.scalars(OWN_SOURCES.where(Source.server_id == server)).all()


THESE: BindParameter[Any] = bindparam("ids", expanding=True)
_LOADED = seen_of_these(select(Job)).where(Job.id.in_(THESE)).options(*_FOR_ROWS)


def in_order(ids: Iterable[int]) -> list[Job]:
    """The jobs with these ids, in this order, with their server and source, for rows: without their records."""
    wanted = list(ids)
    if not wanted:
        return []
    rows = {job.id: job for job in db.session.scalars(_LOADED, {"ids": wanted})}
    return [rows[id_] for id_ in wanted if id_ in rows]


def counts(chosen: Filter) -> dict[Group, int]:
    """Per group, at most COUNTED, whatever view is chosen. Without regard to the search."""
    counted = [
        db.session.execute(_counts(source_id is not None), {"source": source_id}).one()
        for source_id in scopes(chosen)
    ]
    return {group: sum(row[group] for row in counted) for group in Group}


@cache
def _counts(in_source: bool) -> Select[*tuple[int, ...]]:
    one = _within(in_source, select(literal(1, literal_execute=True)).select_from(Job))
    some = [one.where(Job.group == int(group)).limit(COUNTED).subquery() for group in Group]
    return select(*(select(func.count()).select_from(each).scalar_subquery() for each in some))


def changed_since(number: int, limit: int) -> list[Job]:
    """The jobs with a change above this number, oldest change first, at most `limit` of each group."""
    found: list[Cursor] = []
    for group in Group:
        statement = seen(select(Job.change, Job.id)).where(Job.group == int(group), Job.change > number)
        rows = db.session.execute(statement.order_by(Job.change.desc()).limit(limit))
        found += [Cursor(int(group), change, id_) for change, id_ in rows]
    return in_order(place.id for place in sorted(found, key=lambda at: (at.change, at.id)))


def sources_changed_since(number: int) -> bool:
    return db.session.scalar(OWN_SOURCES.where(Source.change > number).limit(1)) is not None


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


_SERVERS = (
    select(Server)
    .where(Server.owner_id == _OWNER)
    .order_by(Server.host != "", Server.alias, Server.host, Server.id)
)


def servers() -> list[Server]:
    return list(db.session.scalars(_SERVERS))

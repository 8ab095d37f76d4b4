"""Search by name and by the scheduler's id: every word has to occur in one of the two.

Rare words are looked up in the trigram index. Of common ones the list is walked instead, a bounded stretch per page:
a page may then hold few rows, and still say where the next one begins.
"""

import re

from sqlalchemy import ColumnElement, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute

from remoteweb import viewer
from remoteweb.database import db
from remoteweb.groups import Group
from remoteweb.jobs.filters import Cursor, Filter
from remoteweb.jobs.queries import PAGE, Page, in_order, places, scopes, seen, seen_of_these, source_ids
from remoteweb.models import Job

TRIGRAM = 3  # letters: shorter words are not in that index; alone, they are looked for where names begin
SORTED = 500  # matches that are looked up and sorted; with more, the list is walked
STRETCH = 300  # rows that one page walks at most

_MATCHES = text("SELECT rowid FROM job_search WHERE job_search MATCH :words LIMIT :limit")


def search(chosen: Filter, after: Cursor | None = None) -> tuple[Page, dict[Group, int] | None]:
    """One page, and how many match per group: None when they are too many to count."""
    ids = _few_matches(chosen.text)
    return (_walked(chosen, after), None) if ids is None else _picked(chosen, after, ids)


def matches(chosen: Filter, job: Job) -> bool:
    """Does the search find this job?"""
    words = chosen.text.lower().split()
    id_, name = job.scheduler_id.lower(), job.name.lower()
    if not _long(words):
        return all(name.startswith(word) for word in words)
    return all(word in name or word in id_ for word in words)


def _long(words: list[str]) -> list[str]:
    return [word for word in words if len(word) >= TRIGRAM]


def _few_matches(wanted: str) -> list[int] | None:
    """The ids that match, or None if they are too many to sort."""
    long = _long(wanted.split())
    found = select(Job.id).where(*_conditions(wanted))
    if _is_sqlite() and long:
        # Quoted, so that a search is words and never FTS5's own syntax.
        quoted = " AND ".join('"' + word.replace('"', '""') + '"' for word in long)
        of_owner = f'owner : "{_mark(viewer.current().owner_id)}"'
        asked = f"{of_owner} AND {{name scheduler_id}} : ({quoted})"
        ids = list(db.session.scalars(_MATCHES, {"words": asked, "limit": SORTED + 1}))
        if len(ids) <= SORTED and len(long) < len(wanted.split()):
            ids = list(db.session.scalars(seen_of_these(found).where(Job.id.in_(ids))))
    else:
        # PostgreSQL's trigram index is used by ILIKE itself, and on both the beginning of a name has its own index.
        ids = list(db.session.scalars(seen(found).limit(SORTED + 1)))
    return ids if len(ids) <= SORTED else None


def _mark(owner_id: int) -> str:
    """How the trigram index knows an owner: by one group of three letters, as the migration's triggers write it."""
    return "".join(
        chr(19968 + digit) for digit in (owner_id % 8192, owner_id // 8192 % 8192, owner_id // 67108864)
    )


def _picked(chosen: Filter, after: Cursor | None, ids: list[int]) -> tuple[Page, dict[Group, int]]:
    statement = seen_of_these(select(Job.group, Job.change, Job.id)).where(Job.id.in_(ids))
    if chosen.server is not None:
        statement = statement.where(Job.source_id.in_(source_ids(chosen.server)))
    found = [Cursor(*row) for row in db.session.execute(statement)]
    counts = {group: sum(at.group == group for at in found) for group in Group}
    groups = set(map(int, chosen.groups))
    rows = sorted(
        (at for at in found if at.group in groups and (after is None or _order(at) > _order(after))),
        key=_order,
    )
    more = rows[PAGE - 1] if len(rows) > PAGE else None
    return Page(in_order(at.id for at in rows[:PAGE]), more), counts


def _walked(chosen: Filter, after: Cursor | None) -> Page:
    stretch: list[Cursor] = []
    within = scopes(chosen)
    for group in chosen.groups:
        if after is None or group >= after.group:
            stretch += places(within, group, after, STRETCH - len(stretch))
        if len(stretch) >= STRETCH:
            break
    ids = [at.id for at in stretch]
    among = seen_of_these(select(Job.id)).where(Job.id.in_(ids), *_conditions(chosen.text))
    hits = set(db.session.scalars(among))
    found = [at for at in stretch if at.id in hits]
    more = stretch[-1] if len(stretch) >= STRETCH else None
    if len(found) > PAGE:
        more = found[PAGE - 1]
    return Page(in_order(at.id for at in found[:PAGE]), more)


def _conditions(wanted: str) -> list[ColumnElement[bool]]:
    words = wanted.split()
    condition = _anywhere if _long(words) else _at_the_beginning
    return [condition(re.sub(r"([\\%_])", r"\\\1", word)) for word in words]


def _anywhere(literally: str) -> ColumnElement[bool]:
    return or_(_like(Job.name, f"%{literally}%"), _like(Job.scheduler_id, f"%{literally}%"))


def _at_the_beginning(literally: str) -> ColumnElement[bool]:
    return _like(Job.name, f"{literally}%")


def _like(column: InstrumentedAttribute[str], pattern: str) -> ColumnElement[bool]:
    """Without regard to case. SQLite's LIKE is that already, and only as it is can it use an index."""
    return column.like(pattern, escape="\\") if _is_sqlite() else column.ilike(pattern, escape="\\")


def _is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


def _order(at: Cursor) -> tuple[int, int, int]:
    return (at.group, -at.change, -at.id)

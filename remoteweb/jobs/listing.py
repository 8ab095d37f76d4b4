"""What the list shows, put together from the queries: the whole list and its further pages are made of the same rows."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from remoteweb import changes
from remoteweb.groups import Group
from remoteweb.jobs import action_queries, queries, words
from remoteweb.jobs.filters import VIEWS, Cursor, Filter
from remoteweb.jobs.searching import search
from remoteweb.models import Action, Job, Server

TITLES = {
    Group.NEEDS_YOU: "Needs you",
    Group.RUNNING: "Running",
    Group.WAITING: "Waiting",
    Group.ENDED: "Ended",
}
REFUSAL_SHOWN = 86400.0  # seconds that a refused request stays in its row
POLL_LIVE, POLL_IDLE = 5, 30  # seconds


@dataclass(frozen=True, slots=True)
class Row:
    job: Job
    look: words.Look
    action: Action | None = None  # what was asked of it, as far as a row has to tell

    @property
    def can_be_asked(self) -> bool:
        """Nothing is under way: what was refused or given up is told, and may be asked for again."""
        return self.action is None or self.action.state not in action_queries.OPEN_STATES


@dataclass(frozen=True, slots=True)
class Section:
    group: Group
    title: str
    rows: list[Row] = field(default_factory=list)
    holds_more: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    chosen: Filter
    sections: list[Section]
    more: Cursor | None
    counts: dict[Group, str]  # empty texts when nobody counted
    total: str
    tag: str
    seconds: int  # between two polls
    servers: list[Server]
    submissions: list[Action]
    is_empty: bool  # there is no job at all, whatever the filter
    after: Cursor | None = None

    @property
    def nothing_found(self) -> bool:
        return self.more is None and not any(section.rows for section in self.sections)


def listing(chosen: Filter, after: Cursor | None = None) -> Listing:
    tag = changes.tag()  # before the rows: what changes meanwhile is told again, and not skipped
    page, counted = (
        search(chosen, after) if chosen.text else (queries.page(chosen, after), queries.counts(chosen))
    )
    counts, total = told(counted)
    return Listing(
        chosen=chosen,
        sections=_sections(chosen, page),
        more=page.more,
        counts=counts,
        total=total,
        tag=tag,
        seconds=rhythm(),
        servers=queries.servers(),
        submissions=pending_submissions(),
        is_empty=not page.jobs and not queries.any_job(),
        after=after,
    )


def _sections(chosen: Filter, page: queries.Page) -> list[Section]:
    made = rows(page.jobs)
    last = page.more.group if page.more else None
    return [
        Section(
            group, TITLES[group], [row for row in made if row.job.group == group], holds_more=group == last
        )
        for group in chosen.groups
    ]


def rows(jobs: Iterable[Job]) -> list[Row]:
    shown = list(jobs)
    actions = action_queries.last_actions([job.id for job in shown]) if shown else {}
    return [row(job, actions.get(job.id)) for job in shown]


def row(job: Job, action: Action | None) -> Row:
    return Row(job, words.look(job), action if action is not None and _is_told(action, job) else None)


def _is_told(action: Action, job: Job) -> bool:
    """What succeeded is seen in the job itself; a refusal has to be read once."""
    if action.state in action_queries.OPEN_STATES:
        return True
    return action.state in ("refused", "gave_up") and time.time() - (action.ended_at or 0) < REFUSAL_SHOWN


def pending_submissions() -> list[Action]:
    return action_queries.submissions(since=time.time() - 3600)


def told(counted: dict[Group, int] | None) -> tuple[dict[Group, str], str]:
    """Counts as they are said, and their sum."""
    if counted is None:
        return dict.fromkeys(Group, ""), ""
    return {group: said(number) for group, number in counted.items()}, said(sum(counted.values()))


def said(number: int) -> str:
    return "999+" if number >= queries.COUNTED else str(number)


def rhythm() -> int:
    """How often a page asks for news: seldom when nothing can change soon."""
    return POLL_LIVE if action_queries.anything_moves() else POLL_IDLE


def chips(shown: Listing) -> list[tuple[str, str, str, str]]:
    """(view, title, count, class of the count) of each filter."""
    made = []
    for view, (title, groups) in VIEWS.items():
        count = shown.counts[groups[0]] if view else shown.total
        made.append((view, title, count, f"n{int(groups[0])}" if view else "all"))
    return made

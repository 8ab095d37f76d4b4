"""The change number: one counter, moved last in the transaction that changes what a page shows."""

from collections.abc import Iterable

from sqlalchemy import update

from remoteweb.database import db
from remoteweb.models import Counter, Job, Source


def publish(changed: Iterable[Job | Source]) -> None:
    """Give all that this transaction changed the next number. Call it last: the counter's row stays locked.

    So the order of the numbers is the order of the commits, also on PostgreSQL, and a reader of "all above N"
    misses nothing: who sees the counter at N sees all that was numbered up to N.
    """
    rows = list(changed)
    if not rows:
        return
    db.session.flush()
    _lock(rows)
    number = _add_one("change")
    for row in rows:
        row.change = number


def _lock(rows: list[Job | Source]) -> None:
    """On PostgreSQL, the rows before the counter, and in one order.

    Who took the counter first, as a tap would that changes nothing else of its job, would wait for a sync that has
    the job's row, and that one for the counter.
    """
    if db.engine.dialect.name == "sqlite":
        return
    for model in (Job, Source):
        ids = sorted(row.id for row in rows if isinstance(row, model))
        if ids:
            wanted = db.select(model.id).where(model.id.in_(ids)).order_by(model.id)
            db.session.execute(wanted.with_for_update(key_share=True))


def start_afresh() -> None:
    """Rows went away: every open page has to load anew, since a feed cannot speak of what is not there."""
    db.session.flush()
    _add_one("afresh")


def current(name: str) -> int:
    return db.session.scalar(db.select(Counter.value).where(Counter.name == name)) or 0


def tag() -> str:
    """What a page's poller carries: it is up to date as long as this is the same."""
    rows = {row.name: row.value for row in db.session.execute(db.select(Counter.name, Counter.value))}
    return f"{rows.get('afresh', 0)}.{rows.get('change', 0)}"


def _add_one(name: str) -> int:
    number: int | None = db.session.scalar(
        update(Counter).where(Counter.name == name).values(value=Counter.value + 1).returning(Counter.value)
    )
    assert number is not None, f"the migration creates the counter {name!r}"  # noqa: S101
    return number

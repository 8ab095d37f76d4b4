"""The change number: a counter of each owner, moved last in the transaction that changes what their pages show.

One for all would tell everybody how much the others' jobs move, and wake every page for it.
"""

from collections.abc import Iterable

from sqlalchemy import text

from remoteweb import viewer
from remoteweb.database import db
from remoteweb.models import Counter, Job, Source


def publish(changed: Iterable[Job | Source]) -> None:
    """Give all that this transaction changed its owner's next number. Call it last: the counter's row stays locked.

    So the order of the numbers is the order of the commits, also on PostgreSQL, and a reader of "all above N"
    misses nothing: who sees the counter at N sees all that was numbered up to N.
    """
    rows = list(changed)
    if not rows:
        return
    db.session.flush()
    _lock(rows)
    for owner_id in sorted({_owner(row) for row in rows}):
        number = _add_one(f"change.{owner_id}")
        for row in rows:
            if _owner(row) == owner_id:
                row.change = number


def _owner(row: Job | Source) -> int:
    return row.owner_id if isinstance(row, Job) else row.server.owner_id


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


def start_afresh(owner_id: int) -> None:
    """Rows went away: every open page of theirs has to load anew, since a feed cannot speak of what is not there."""
    db.session.flush()
    _add_one(f"afresh.{owner_id}")


_COUNTERS = db.select(Counter.name, Counter.value).where(
    Counter.name.in_(db.bindparam("names", expanding=True))
)


def tag() -> str:
    """What a page's poller carries: it is up to date as long as this is the same."""
    owner_id = viewer.current().owner_id
    afresh, change = f"afresh.{owner_id}", f"change.{owner_id}"
    values = {row.name: row.value for row in db.session.execute(_COUNTERS, {"names": (afresh, change)})}
    return f"{values.get(afresh, 0)}.{values.get(change, 0)}"


# An account's counters begin with the first change of what is its own.
_COUNT = text(
    "INSERT INTO counter (name, value) VALUES (:name, 1)"
    " ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value"
)


def _add_one(name: str) -> int:
    return int(db.session.execute(_COUNT, {"name": name}).scalar_one())

"""What was not allowed, in the audit log: who was refused what, and why; the first time at once, and then as a number.

One who is refused again and again must fill no disk and keep nobody waiting. So for each account and each reason, and for
all strangers together for each reason, at most one row comes in a time; what comes meanwhile is counted in a table of its
own, and only if nobody else is writing: the number may be too small, never too large.
"""

import time

from remoteweb import audit, viewer
from remoteweb.accounts import Refusal
from remoteweb.database import begin_writing, db
from remoteweb.viewer import Viewer

WHAT = "was refused"
# At most one row in so many seconds: of one account, and of all strangers.
KNOWN_SECONDS, STRANGER_SECONDS = 600.0, 3600.0


def note(who: Viewer | None, address: str, route: str, reason: str) -> None:
    """A transaction of its own. `route` and `reason` are words of ours: there are as many reasons as the program has.

    Raises DBAPIError where the database does not take it.
    """
    key = f"{who.account_id if who else 'stranger'} {reason}"
    db.session.rollback()  # whatever the view had begun: it was refused
    if db.session.get(Refusal, key) is None:
        _begin(key, who, address, route, reason)
    else:
        _count(key, address)


def _count(key: str, address: str) -> None:
    """There was a row in this time already. Raises OperationalError while somebody else writes, or does not count."""
    mine = db.select(Refusal.key).where(Refusal.key == key).with_for_update(skip_locked=True)
    counted = db.update(Refusal).where(Refusal.key.in_(mine.scalar_subquery()))
    counted = counted.values(count=Refusal.count + 1, address=address)
    impatient = {"immediate": True, "relaxed": True, "impatient": True}
    with db.engine.connect().execution_options(**impatient) as connection, connection.begin():
        connection.execute(counted)


def _begin(key: str, who: Viewer | None, address: str, route: str, reason: str) -> None:
    begin_writing()
    account_id = who.account_id if who else None
    db.session.add(
        Refusal(key=key, account_id=account_id, reason=reason, since=time.time(), count=0, address=address)
    )
    db.session.flush()  # raises IntegrityError when another was quicker: that one notes it
    audit.note(WHAT, route, reason, who=who or audit.STRANGER)
    db.session.commit()


def settle() -> None:
    """What was counted stands in the log once its time is over. Called now and then; in transactions of its own."""
    now = time.time()
    span = db.case((Refusal.account_id.is_(None), STRANGER_SECONDS), else_=KNOWN_SECONDS)
    # One that lies ahead was made by a clock that has been set back since.
    over = db.or_(Refusal.since < now - span, Refusal.since > now + STRANGER_SECONDS)
    if db.session.scalar(db.select(Refusal.key).where(over).limit(1)) is None:
        return
    begin_writing()
    for row in db.session.scalars(db.select(Refusal).where(over).with_for_update()).all():
        if row.count:
            who = viewer.of_account(row.account_id) if row.account_id else audit.STRANGER
            times = f"at least {row.count:,} times more" if row.count > 1 else "once more"
            last = f", the last from {row.address}" if row.address else ""
            audit.note(WHAT, times, row.reason + last, who=who)
            row.since, row.count = now, 0
        else:
            db.session.delete(row)
    db.session.commit()

"""What a failed sync leaves behind: a sentence, since when, and when (or by whom) it is tried again."""

import random
import time

from remoteweb import changes
from remoteweb.database import db
from remoteweb.leases import Freed, Lease
from remoteweb.models import Server, Source

FIRST_WAIT = 15.0
LONGEST_WAIT = 3600.0
# A refused login is tried again by nobody but a person. A command without a terminal may be cron, or a
# person's script:
# it may try, and less and less often, so that it never looks like an attack.
FIRST_LOGIN_WAIT = 300.0
LONGEST_LOGIN_WAIT = 6 * 3600.0


def note(lease: Lease, sentence: str, *, is_login: bool) -> None:
    """In the caller's transaction. The back-off is a column, so it survives a restart."""
    server = db.session.get(Server, lease.server_id)
    if server is None:
        return
    now = time.time()
    was = (server.error, server.needs_person)
    server.failures += 1
    server.error = sentence
    server.error_since = server.error_since or now
    server.needs_person = sentence if is_login else ""
    server.not_before = now + wait(server.failures, is_login=is_login)
    if (server.error, server.needs_person) != was:
        changes.publish(_sources(lease.server_id))


def wait(failures: int, *, is_login: bool = False) -> float:
    """Doubles with each failure in a row.

    Jitter, so that many that failed together do not come back together.
    """
    first, longest = (FIRST_LOGIN_WAIT, LONGEST_LOGIN_WAIT) if is_login else (FIRST_WAIT, LONGEST_WAIT)
    return min(first * 2.0 ** min(failures - 1, 20), longest) * random.uniform(0.75, 1.0)  # noqa: S311  no secret


def is_over(server: Freed) -> list[Source]:
    """In the caller's transaction, which publishes the sources that it gives: those whose line says something
    else now.
    """
    was_in_trouble = bool(server.error or server.needs_person)
    if was_in_trouble or server.failures or server.not_before:
        none = {"failures": 0, "not_before": 0.0, "error": "", "needs_person": "", "error_since": None}
        db.session.execute(db.update(Server).where(Server.id == server.id).values(none))
    return _sources(server.id) if was_in_trouble else []


def _sources(server_id: int) -> list[Source]:
    return list(db.session.scalars(db.select(Source).where(Source.server_id == server_id)))

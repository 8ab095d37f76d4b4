"""Who syncs a server now: one lease per server, in the database, so that it holds across processes and
machines.
"""

import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flask import current_app
from sqlalchemy import Boolean, ColumnElement, Engine, bindparam, or_, select, update
from sqlalchemy.exc import DBAPIError

from remotejobs.errors import RemoteJobsError
from remoteweb.database import db, table_of
from remoteweb.models import Server

# Long enough for a heartbeat that waits behind another writer, short enough that a killed holder is soon
# forgotten.
LEASE_SECONDS = 45.0
HEARTBEAT_SECONDS = 10.0
# A lease that ends later than this was made by a clock that has been set back since.
IMPOSSIBLE_SECONDS = 600.0


class Busy(RemoteJobsError):
    """Another sync of that server is running."""

    exit_code = 75  # EX_TEMPFAIL, so that cron and scripts can tell it from a failure

    def __init__(self, label: str, owner: str) -> None:
        super().__init__(f"{label} is being synced already, by {who(owner)}. Try again when it is done.")


class TooSoon(RemoteJobsError):
    """The server's minimum interval is not over; `seconds` are left."""

    exit_code = 75

    def __init__(self, label: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"{label} was synced a moment ago. Its shortest interval is over in {seconds:.0f} s."
        )


class LeaseLost(RemoteJobsError):
    """We were away for too long, and another sync took over: what it says is newer than what we hold."""

    def __init__(self, label: str) -> None:
        super().__init__(
            f"Another sync of {label} took over, since this one did not move. Its answer is used instead."
        )


@dataclass(frozen=True, slots=True)
class Lease:
    server_id: int
    owner: str
    fence: int
    was_left: bool = False  # by a holder who is gone, and may have left more than the lease


class Freed(NamedTuple):
    """What its row says of a server whose sync is over: the way its clock goes, its gate, and the trouble until now."""

    id: int
    skew: float | None
    narrow: str
    failures: int
    not_before: float
    error: str
    needs_person: str


def new_owner() -> str:
    """host:pid:place-random. The random word tells two syncs of one process apart, and a pid that was used
    again.

    The place is this boot and its process ids: only there can it be asked whether the pid still lives.
    """
    host = socket.gethostname()[:64].replace(":", "-")
    return f"{host}:{os.getpid()}:{_place()}-{secrets.token_hex(6)}"


def who(owner: str) -> str:
    """The holder as a person can look for it."""
    host, pid = (*owner.split(":"), "", "")[:2]
    return f"process {pid} on {host}"


@cache
def _place() -> str:
    try:
        words = Path("/proc/sys/kernel/random/boot_id").read_text() + str(
            Path("/proc/self/ns/pid").readlink()
        )
    except OSError:
        return secrets.token_hex(4)  # unlike any other, so nobody's pid is judged
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def is_dead(owner: str) -> bool:
    """The holder was a process of this machine, and is gone: a killed sync need not be waited for."""
    _host, pid, word = (*owner.split(":"), "", "", "")[:3]
    if not pid.isdecimal() or word.partition("-")[0] != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


# What every sync says is made once: to put a statement together takes SQLAlchemy longer than SQLite to carry it out.
# The changed row comes back as it is now: whoever asks the session for it need not read it again.
_RESTED = or_(
    bindparam("ignore_interval", type_=Boolean),
    Server.last_try_at.is_(None),
    Server.last_try_at > bindparam("now"),  # a clock that was set back must not block for hours
    Server.last_try_at <= bindparam("now") - Server.min_interval,
)
_TAKE = (
    update(Server)
    .where(Server.id == bindparam("server"), _RESTED)
    .values(
        lease_owner=bindparam("holder"),
        lease_until=bindparam("until"),
        fence=Server.fence + 1,
        last_try_at=bindparam("now"),
    )
    .returning(Server)
    .execution_options(synchronize_session=False, populate_existing=True)
)
_TAKE_WHAT_IS_FREE = _TAKE.where(Server.lease_owner == "")
_server = table_of(Server)
_DROP = (
    update(_server)
    .where(_server.c.id == bindparam("server"), _server.c.fence == bindparam("held"))
    .values(lease_owner="", lease_until=0.0)
    .returning(*(_server.c[name] for name in Freed._fields))
)
# `key_share`: whoever adds a row that only speaks of this server need not wait.
_LOCK = select(_server.c.fence).where(_server.c.id == bindparam("server")).with_for_update(key_share=True)


def take(server_id: int, owner: str, *, ignore_interval: bool = False) -> Lease:
    """One conditional UPDATE, which also starts the server's minimum interval. Raises Busy or TooSoon.

    The fence grows with each lease: whoever holds an older one may not write any more.
    The caller's transaction writes, and commits.
    """
    now = time.time()
    asked: dict[str, object] = {"server": server_id, "ignore_interval": ignore_interval, "now": now}
    asked |= {"holder": owner, "until": now + LEASE_SECONDS}
    server = db.session.scalar(_TAKE_WHAT_IS_FREE, asked)
    if server is not None:
        return Lease(server_id, owner, server.fence)
    server = db.session.scalar(_TAKE.where(_is_left(server_id, now)), asked)
    if server is not None:
        return Lease(server_id, owner, server.fence, was_left=True)
    db.session.rollback()
    raise _why_not(server_id, now)


def _is_left(server_id: int, now: float) -> ColumnElement[bool]:
    left = or_(Server.lease_until < now, Server.lease_until > now + IMPOSSIBLE_SECONDS)
    holder = db.session.scalar(db.select(Server.lease_owner).where(Server.id == server_id)) or ""
    return or_(left, Server.lease_owner == holder) if is_dead(holder) else left


def _why_not(server_id: int, now: float) -> RemoteJobsError:
    server = db.session.get_one(Server, server_id, populate_existing=True)
    label, owner, until = server.label, server.lease_owner, server.lease_until
    left = server.min_interval - (now - (server.last_try_at or 0.0))
    db.session.rollback()
    return Busy(label, owner) if owner and until >= now else TooSoon(label, max(left, 0.0))


def still_ours(lease: Lease) -> None:
    """Inside a writing transaction: raises LeaseLost when a later sync has begun, before anything of ours is
    written.
    """
    if locked(lease.server_id) != lease.fence:
        raise _lost(lease)


def locked(server_id: int) -> int | None:
    """The server's fence, None if it is gone. Until the transaction ends, no sync of it begins and no source of it
    comes or goes: on SQLite nobody else writes anyway, on PostgreSQL they wait for this lock.
    """
    fence: int | None = db.session.scalar(_LOCK, {"server": server_id})
    return fence


def _lost(lease: Lease) -> LeaseLost:
    server = db.session.get(Server, lease.server_id)
    label = server.label if server else "a server that was removed"
    db.session.rollback()
    return LeaseLost(label)


def give_back(lease: Lease) -> Freed:
    """With the caller's transaction the server is free for the next one. Raises LeaseLost when that has begun already."""
    freed = drop(lease)
    if freed is None:
        raise _lost(lease)
    return freed


def drop(lease: Lease) -> Freed | None:
    """The same, but None when it is not ours any more."""
    row = db.session.execute(_DROP, {"server": lease.server_id, "held": lease.fence}).one_or_none()
    return None if row is None else Freed(*row)


@contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Renews the lease from a thread of its own while the body runs: an exchange may take longer than the
    lease.
    """
    over = threading.Event()
    engine = db.engine
    log = current_app.logger

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            try:
                _renew(engine, lease)
            except DBAPIError as error:
                log.warning(
                    "The lease of server %s could not be renewed yet: %s", lease.server_id, error.orig
                )
            except Exception:
                log.exception("The lease of server %s could not be renewed; trying again.", lease.server_id)

    thread = threading.Thread(target=beat, name=f"lease-{lease.server_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _renew(engine: Engine, lease: Lease) -> None:
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        connection.execute(
            db.update(Server)
            .where(
                Server.id == lease.server_id, Server.fence == lease.fence, Server.lease_owner == lease.owner
            )
            .values(lease_until=time.time() + LEASE_SECONDS)
        )

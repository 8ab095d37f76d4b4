"""The keys that were made here: asked for, made, in use, replaced, revoked. Rows; what is sealed in them is opened elsewhere.

Each change is in the caller's transaction, unless it says otherwise, and stands in the audit log with it.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError

from remotejobs.authorized import PublicKey
from remotejobs.destination import Destination
from remotejobs.errors import BadInput
from remoteweb import audit
from remoteweb.database import begin_writing, db, forget_what_was_written
from remoteweb.kept import let_go
from remoteweb.models import Server
from remoteweb.viewer import Viewer
from remoteweb.ways import IN_USE, MADE, REPLACED, REVOKED, UNMADE, WANTED, Login, MadeKey

MOST = 200  # of one account, those that are gone and still listed among them
NEW, LIVE, GONE = (WANTED, MADE), (WANTED, MADE, IN_USE), (REPLACED, REVOKED)


class At(NamedTuple):
    """A login of an account, whether its server is known yet or not."""

    owner_id: int
    user: str
    host: str
    port: int

    @classmethod
    def of(cls, row: Server | Login | MadeKey) -> "At":
        return cls(row.owner_id, row.user, row.host, row.port)

    def __str__(self) -> str:
        return str(Destination(self.host, self.port, self.user))


def ask(at: At, by: str, *, to_replace: bool = False) -> MadeKey:
    """The key of that login, a row that waits to be made where there is none; with `to_replace`, one besides the one in use.

    Asked for again, it is the same row. Raises BadInput.
    """
    begin_writing()
    rows = {row.state: row for row in _of(at, *LIVE, UNMADE)}
    if to_replace and IN_USE not in rows:
        raise BadInput(
            f"No key that was made here has let us in at {at} yet, so there is none to be replaced. Make one, or revoke the one "
            "that waits and make another."
        )
    if new := rows.get(WANTED) or rows.get(MADE):
        return new
    if IN_USE in rows and not to_replace:
        return rows[IN_USE]
    if len(of_account(at.owner_id)) >= MOST:
        raise BadInput(f"{MOST} keys are listed already. Revoke some, and say which lines are removed.")
    row = rows.get(UNMADE) or MadeKey(**at._asdict())
    row.state, row.asked_by, row.asked_at, row.ended_at, row.sentence = WANTED, by, time.time(), None, ""
    db.session.add(row)
    try:
        db.session.flush()
    except IntegrityError:  # another tap was quicker
        db.session.rollback()
        return ask(at, by, to_replace=to_replace)
    audit.note("asked for a key", str(at), "in the place of the one in use" if to_replace else "")
    return row


def live(at: At) -> list[MadeKey]:
    """Those with a private half, the newest first: a server that has both takes the new one."""
    return sorted(_of(at, MADE, IN_USE), key=lambda row: -row.id)


def was_revoked(at: At) -> bool:
    return bool(_of(at, REVOKED))


def was_one_revoked(ids: Sequence[int]) -> bool:
    """Since they were live. If not, none of them is before the caller's transaction has ended."""
    query = db.select(MadeKey.state).where(MadeKey.id.in_(ids)).order_by(MadeKey.id).with_for_update()
    states = db.session.scalars(query).all()
    return REVOKED in states or len(states) < len(ids)  # of one, it was said already that its line is removed


def wanted() -> list[int]:
    """Of everybody, for the worker."""
    return list(db.session.scalars(db.select(MadeKey.id).where(MadeKey.state == WANTED).order_by(MadeKey.id)))


def made(key_id: int, public: PublicKey, seal: Callable[[], tuple[str, str]]) -> bool:
    """`seal` gives what is sealed, and the name of what sealed it. A transaction of its own.

    False: somebody else made it, or it is not wanted any more.
    """
    begin_writing()
    is_wanted = db.select(MadeKey).where(MadeKey.id == key_id, MadeKey.state == WANTED)
    row = db.session.scalar(is_wanted.with_for_update())
    if row is not None:
        # Under the row's lock: who replaces the key of keys waits for it before the former one goes.
        row.sealed, row.sealed_by = seal()
        row.state, row.public, row.made_at = MADE, str(public), time.time()
        audit.note("made a key", _named(row), who=_program(row.owner_id))
    db.session.commit()
    return row is not None


def sealed_anew(key_id: int, before: str, sealed: tuple[str, str]) -> bool:
    """False: it was destroyed meanwhile, and stays so. A transaction of its own."""
    begin_writing()
    is_still = (MadeKey.id == key_id, MadeKey.sealed == before)
    row = db.session.scalar(db.select(MadeKey).where(*is_still).with_for_update())
    if row is not None:
        row.sealed, row.sealed_by = sealed
        audit.note("sealed a key anew", _named(row))
    db.session.commit()
    return row is not None


def with_a_private_half() -> list[int]:
    """Of everybody."""
    return list(db.session.scalars(db.select(MadeKey.id).where(MadeKey.sealed != "").order_by(MadeKey.id)))


def seals_under_lock() -> set[str]:
    """The names of the keys that sealed any. Until the caller's transaction ends none is sealed."""
    begin_writing()
    query = db.select(MadeKey).where(MadeKey.state.in_(LIVE)).order_by(MadeKey.id)
    return {row.sealed_by for row in db.session.scalars(query.with_for_update())}


def could_not_be_made(key_id: int, sentence: str) -> None:
    """A transaction of its own."""
    begin_writing()
    _moved(key_id, WANTED, state=UNMADE, sentence=sentence, ended_at=time.time())
    db.session.commit()


def accepted(at: At, blob: bytes) -> None:
    """The server has let us in by the key with this public half: the one before it is destroyed. A transaction of its own."""
    begin_writing()
    rows = {row.state: row for row in _of(at, MADE, IN_USE)}
    new, old = rows.get(MADE), rows.get(IN_USE)
    if new is None or PublicKey.parse(new.public).blob != blob:
        db.session.rollback()
        return
    if old is not None:
        _destroy(old, REPLACED)
        audit.note("destroyed a key", _named(old), "the server takes its successor", _program(at.owner_id))
        db.session.flush()  # one alone is in use
    new.state, new.accepted_at = IN_USE, time.time()
    audit.note("was let in by a new key", _named(new), who=_program(at.owner_id))
    db.session.commit()
    if old is not None:
        forget_what_was_written()


def revoke(rows: Sequence[MadeKey]) -> list[MadeKey]:
    """Their private halves are destroyed, no sync offers them any more, and what they have opened is closed: those whose line
    may stand at the server.

    Of one login, in a transaction of its own.
    """
    ids, places = [row.id for row in rows], {At.of(row) for row in rows}
    begin_writing()
    query = db.select(MadeKey).where(MadeKey.id.in_(ids), MadeKey.state.in_(LIVE)).order_by(MadeKey.id)
    for row in db.session.scalars(query.with_for_update()):
        audit.note("revoked a key", _named(row))
        if row.state == WANTED:
            db.session.delete(row)
        else:
            _destroy(row, REVOKED)
    for server_id in map(_server_at, places):
        if server_id is not None:
            let_go(server_id)  # with it, so that nothing stays open by a key that is gone
    db.session.commit()
    forget_what_was_written()
    is_gone = (MadeKey.id.in_(ids), MadeKey.state == REVOKED)
    return list(db.session.scalars(db.select(MadeKey).where(*is_gone).order_by(MadeKey.id)))


def forget(row: MadeKey) -> None:
    """Of one that is gone: its line was removed at the server, and nothing needs to tell of it any more."""
    begin_writing()
    query = db.delete(MadeKey).where(MadeKey.id == row.id, MadeKey.state.in_((*GONE, UNMADE)))
    db.session.execute(query)


def of(owner_id: int, key_id: int) -> MadeKey | None:
    mine = db.select(MadeKey).where(MadeKey.id == key_id, MadeKey.owner_id == owner_id)
    row: MadeKey | None = db.session.scalar(mine)
    return row


def of_account(owner_id: int) -> list[MadeKey]:
    """Login by login, the oldest key of each first."""
    query = db.select(MadeKey).where(MadeKey.owner_id == owner_id)
    return list(db.session.scalars(query.order_by(MadeKey.host, MadeKey.port, MadeKey.user, MadeKey.id)))


def at(place: At) -> list[MadeKey]:
    """All that there is to tell of that login, the oldest first."""
    return _of(place, *LIVE, *GONE, UNMADE)


def _server_at(at: At) -> int | None:
    same = (Server.owner_id, Server.user, Server.host, Server.port)
    found: int | None = db.session.scalar(db.select(Server.id).where(db.tuple_(*same) == db.tuple_(*at)))
    return found


def _of(at: At, *states: str) -> list[MadeKey]:
    query = db.select(MadeKey).where(*_is_at(at), MadeKey.state.in_(states)).order_by(MadeKey.id)
    return list(db.session.scalars(query))


def _is_at(at: At) -> tuple[ColumnElement[bool], ...]:
    return (
        MadeKey.owner_id == at.owner_id,
        MadeKey.user == at.user,
        MadeKey.host == at.host,
        MadeKey.port == at.port,
    )


def _moved(key_id: int, before: str, **values: object) -> MadeKey | None:
    move = db.update(MadeKey).where(MadeKey.id == key_id, MadeKey.state == before).values(**values)
    row: MadeKey | None = db.session.scalar(move.returning(MadeKey).execution_options(populate_existing=True))
    return row


def _destroy(row: MadeKey, state: str) -> None:
    row.state, row.sealed, row.ended_at = state, "", time.time()


def _named(row: MadeKey) -> str:
    fingerprint = PublicKey.parse(row.public).fingerprint if row.public else ""
    return f"{At.of(row)} {fingerprint}".rstrip()


def _program(owner_id: int) -> Viewer:
    """Nobody has asked for this at this moment; the owner finds it in the log."""
    return Viewer(owner_id, audit.PROGRAM, "", owner_id)

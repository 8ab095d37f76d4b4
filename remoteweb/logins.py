"""The logins that a person began: asked for, carried out, waiting for that person, ended. Rows; nothing goes out here."""

import time

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError

from remotejobs.errors import BadInput, RemoteJobsError
from remoteweb import hostkeys, leases
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db
from remoteweb.made_keys import At
from remoteweb.models import Server
from remoteweb.wanted import Wanted
from remoteweb.ways import (
    CONNECTING,
    ENDED,
    FAILED,
    HOST_KEY,
    OPEN,
    OWN_KEY,
    SYNCING,
    WAITING,
    WITH_A_WORKER,
    Login,
    Question,
)

MOST_OPEN = 5  # of one account
# For so long a person may take to compare a host key.
PERSON_SECONDS = 24 * 3600.0
UNTAKEN_SECONDS = 600.0
# A worker says so often that it is there; one that has been silent for so long is gone.
BEAT_SECONDS, GONE_SECONDS = 5.0, 30.0
KEPT_SECONDS = 7 * 86400.0

_ABANDONED = "The sync worker that carried it out is gone, so the login has ended. Begin it again."
_UNTAKEN = "No sync worker took it within 10 minutes, so nothing was done. Is one running?"
_NOBODY_CAME = "Nobody answered within a day, so it was given up. Nothing was accepted."


class OpenAlready(RemoteJobsError):
    def __init__(self, login: int) -> None:
        self.login = login
        super().__init__("A login there is under way already: one at a time for each server.")


class TooMany(RemoteJobsError):
    def __init__(self) -> None:
        super().__init__(
            f"{MOST_OPEN} logins are under way already. Go on with one of them, or give one up, before the next."
        )


def begin(owner_id: int, wanted: Wanted, by: str, state: str = WAITING) -> Login:
    """A row that waits for a worker, or in `own_key` first for a person, in the caller's transaction.

    Raises OpenAlready, TooMany.
    """
    begin_writing()
    close_stale(owner_id)
    is_open = (Login.owner_id == owner_id, Login.ended_at.is_(None))
    same = (Login.user == wanted.user, Login.host == wanted.host, Login.port == wanted.port)
    rows = list(db.session.scalars(db.select(Login).where(*is_open).with_for_update()))
    for row in rows:
        if (row.user, row.host, row.port) == (wanted.user, wanted.host, wanted.port):
            raise OpenAlready(row.id)
    if len(rows) >= MOST_OPEN:
        raise TooMany
    now = time.time()
    # The one before it at this server has had its say.
    earlier = db.delete(Login).where(Login.owner_id == owner_id, Login.ended_at.is_not(None))
    db.session.execute(earlier.where(db.or_(Login.ended_at < now - KEPT_SECONDS, db.and_(*same))))
    login = Login(
        owner_id=owner_id,
        user=wanted.user,
        host=wanted.host,
        port=wanted.port,
        way=wanted.way,
        app=wanted.app,
        keep_seconds=wanted.keep_seconds,
        asked_by=by,
        asked_at=now,
        state=state,
        changed_at=now,
    )
    db.session.add(login)
    try:
        db.session.flush()
    except IntegrityError:  # another tap was quicker
        db.session.rollback()
        raise OpenAlready(db.session.scalar(db.select(Login.id).where(*is_open, *same)) or 0) from None
    return login


def begin_at(server: Server, keep_seconds: float, by: str) -> Login:
    """The same, at a server that is known: all its sources are synced with it."""
    wanted = Wanted(server.user, server.host, server.port, "", server.way, keep_seconds)
    return begin(server.owner_id, wanted, by)


def of(owner_id: int, login_id: int) -> Login | None:
    mine = db.select(Login).where(Login.id == login_id, Login.owner_id == owner_id)
    found: Login | None = db.session.scalar(mine)
    return found


def open_at(at: At) -> int | None:
    """The one that is under way there."""
    same = (Login.owner_id, Login.user, Login.host, Login.port)
    query = db.select(Login.id).where(db.tuple_(*same) == db.tuple_(*at), Login.ended_at.is_(None))
    found: int | None = db.session.scalar(query)
    return found


def shown(owner_id: int) -> list[Login]:
    """Those that wait or go on, and those that failed and were not begun again since; the newest first."""
    is_shown = db.or_(Login.ended_at.is_(None), Login.state == FAILED)
    query = db.select(Login).where(Login.owner_id == owner_id, is_shown).order_by(Login.id.desc())
    return list(db.session.scalars(query.limit(20)))


def question_of(login: Login) -> Question | None:
    return db.session.get(Question, login.id)


def accept_key(login: Login, by: str, line: str, *, besides: bool = False) -> hostkeys.KeyLine:
    """Accept the very key that was shown: `line` is what the page had. Then the login goes on, or is tried again.

    In the caller's transaction. Raises BadInput when it shows another one by now, OtherKeyKnown.
    """
    begin_writing()
    now = time.time()
    state = FAILED if besides else HOST_KEY
    mine = db.update(Login).where(Login.id == login.id, Login.state == state, Login.key_line == line)
    going_on = {"state": WAITING, "changed_at": now, "key_line": "", "sentence": "", "ended_at": None}
    if (
        not line
        or "\0" in line
        or why_stale(login)
        or not db.session.scalar(mine.values(**going_on).returning(Login.id))
    ):
        raise BadInput("This key does not wait to be compared any more. Nothing was accepted.")
    return hostkeys.accept(login.owner_id, line, by, besides=besides)


def go_on(login: Login) -> bool:
    """By the person, who has put the line of a new key where it belongs. In the caller's transaction."""
    begin_writing()
    mine = db.update(Login).where(Login.id == login.id, Login.state == OWN_KEY)
    values = {"state": WAITING, "changed_at": time.time()}
    return db.session.scalar(mine.values(**values).returning(Login.id)) is not None


def give_up(login: Login) -> bool:
    """By the person; the worker sees it. A failed one goes from the list. In the caller's transaction."""
    begin_writing()
    now = time.time()
    mine = db.update(Login).where(Login.id == login.id, Login.state.in_((*OPEN, FAILED)))
    values = {"state": ENDED, "changed_at": now, "ended_at": now, "sentence": "Given up.", "key_line": ""}
    gone = db.session.scalar(mine.values(**values).returning(Login.id)) is not None
    db.session.execute(db.delete(Question).where(Question.login_id == login.id))
    return gone


def take(login_id: int, holder: str) -> bool:
    """By a worker: it is its own from here on. A transaction of its own."""
    begin_writing()
    now = time.time()
    mine = db.update(Login).where(Login.id == login_id, Login.state == WAITING, _has_an_open_account())
    values = {"state": CONNECTING, "changed_at": now, "holder": holder, "seen_at": now, "sentence": ""}
    taken = db.session.scalar(mine.values(**values).returning(Login.id)) is not None
    db.session.commit()
    return taken


def move(login_id: int, holder: str, state: str, **values: object) -> bool:
    """By its worker. False: it is not its own any more, or was given up. A transaction of its own."""
    begin_writing()
    now = time.time()
    mine = db.update(Login).where(
        Login.id == login_id, Login.holder == holder, Login.state.in_(WITH_A_WORKER)
    )
    if state not in OPEN:
        values["ended_at"] = now
    moved = mine.values(state=state, changed_at=now, seen_at=now, **values).returning(Login.id)
    is_ours = db.session.scalar(moved) is not None
    if is_ours:
        db.session.execute(db.delete(Question).where(Question.login_id == login_id))
    db.session.commit()
    return is_ours


def note_too_late(login_id: int, holder: str, sentence: str) -> None:
    """By its worker: what it had done before its row ended otherwise. In the caller's transaction."""
    ended = db.update(Login).where(Login.id == login_id, Login.holder == holder)
    ended = ended.where(Login.state.in_((ENDED, FAILED)))
    db.session.execute(ended.values(sentence=sentence, changed_at=time.time()))


def ask(login_id: int, holder: str, question: Question) -> bool:
    """By its worker: the page shows this until the login moves on. A transaction of its own."""
    begin_writing()
    now = time.time()
    mine = db.update(Login).where(
        Login.id == login_id, Login.holder == holder, Login.state.in_(WITH_A_WORKER)
    )
    if (
        db.session.scalar(mine.values(state="asking", changed_at=now, seen_at=now).returning(Login.id))
        is None
    ):
        db.session.rollback()
        return False
    db.session.execute(db.delete(Question).where(Question.login_id == login_id))
    db.session.add(question)
    db.session.commit()
    return True


def is_still(login_id: int, holder: str) -> bool:
    """By its worker, while it waits for an answer."""
    query = db.select(Login.id).where(
        Login.id == login_id, Login.holder == holder, Login.state.in_(WITH_A_WORKER)
    )
    found = db.session.scalar(query) is not None
    db.session.rollback()
    return found


def held_by(holder: str) -> set[int]:
    """Those that are this worker's, and are still wanted."""
    query = db.select(Login.id).where(Login.holder == holder, Login.state.in_(WITH_A_WORKER))
    return set(db.session.scalars(query))


def leave(holder: str) -> set[int]:
    """By a worker that ends: its own go no further, but for those that were sent their command. A transaction of its own."""
    begin_writing()
    now = time.time()
    mine = db.update(Login).where(
        Login.holder == holder, Login.state.in_(WITH_A_WORKER), Login.state != SYNCING
    )
    values = {"state": FAILED, "changed_at": now, "ended_at": now, "sentence": _ABANDONED, "key_line": ""}
    left = set(db.session.scalars(mine.values(**values).returning(Login.id)))
    db.session.execute(db.delete(Question).where(Question.login_id.in_(left)))
    db.session.commit()
    return left


def beat(holder: str) -> None:
    """By a worker that has some: it is still there. A transaction of its own."""
    begin_writing(relaxed=True)
    mine = db.update(Login).where(Login.holder == holder, Login.state.in_(WITH_A_WORKER))
    db.session.execute(mine.values(seen_at=time.time()).execution_options(synchronize_session=False))
    db.session.commit()


def waiting() -> list[tuple[int, int]]:
    """Those that a worker may take, the oldest first, each with its owner."""
    rows = db.session.execute(
        db.select(Login.id, Login.owner_id)
        .where(Login.state == WAITING, _has_an_open_account())
        .order_by(Login.id)
    )
    return [(login_id, owner_id) for login_id, owner_id in rows]


def _has_an_open_account() -> ColumnElement[bool]:
    """Not one that was begun while its account was shut out, in the same moment: nothing is done for it any more."""
    found: ColumnElement[bool] = db.exists().where(
        Account.id == Login.owner_id, Account.disabled_at.is_(None)
    )
    return found


def close_stale(owner_id: int | None = None) -> None:
    """What nobody carries on any more says so. In the caller's transaction."""
    now = time.time()
    query = db.select(Login).where(Login.ended_at.is_(None))
    for row in db.session.scalars(query.where(Login.owner_id == owner_id) if owner_id else query).all():
        if sentence := why_stale(row):
            seen = (row.id, row.state, row.changed_at, row.seen_at)
            begin_writing()
            as_seen = db.tuple_(Login.id, Login.state, Login.changed_at, Login.seen_at) == db.tuple_(*seen)
            values = {
                "state": FAILED,
                "changed_at": now,
                "ended_at": now,
                "sentence": sentence,
                "key_line": "",
            }
            ended = db.update(Login).where(as_seen).values(**values)
            if db.session.scalar(ended.returning(Login.id)) is not None:
                db.session.execute(db.delete(Question).where(Question.login_id == seen[0]))


def why_stale(login: Login) -> str:
    """Why it goes on no more, though its row does not say so yet; "" while it may."""
    now = time.time()
    if login.ended_at is not None:
        return ""
    if login.state == WAITING:
        return _UNTAKEN if now > login.changed_at + UNTAKEN_SECONDS else ""
    if login.state in WITH_A_WORKER:
        is_gone = now > login.seen_at + GONE_SECONDS or leases.is_dead(login.holder)
        return _ABANDONED if is_gone else ""
    return _NOBODY_CAME if now > login.changed_at + PERSON_SECONDS else ""

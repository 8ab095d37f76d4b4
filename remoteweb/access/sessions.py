"""Browsers that are signed in: a row for each. The secret of a row is in its browser's cookie and nowhere else."""

import hashlib
import secrets
import time

from flask import current_app, request
from sqlalchemy.exc import DBAPIError
from werkzeug.wrappers import Response

from remoteweb import audit
from remoteweb.access import cookies
from remoteweb.access.origin import is_loopback
from remoteweb.accounts import Account, Session, comes_in
from remoteweb.database import begin_writing, db
from remoteweb.untrusted import line
from remoteweb.viewer import Viewer

YEAR = 365 * 86400.0
SEEN_SECONDS = 300.0  # "last seen" is no more exact than that
# What an open page asks by itself. It is no look of a person, and it is asked every few seconds.
POLLS = frozenset(
    {"jobs.feed", "jobs.job_changes", "jobs.output", "sync.bar", "servers.watch", "servers.watch_key"}
)


def begin(account_id: int, *, by_link: bool = False) -> str:
    """A session of this request's browser, in the caller's transaction: what its cookie has to hold.

    The row of the cookie that it came with goes, whosever that was: a secret that was known before a sign-in says
    nothing after it. `by_link`: a printed link on this machine itself, which is for a year.
    """
    begin_writing()
    now = time.time()
    db.session.execute(
        db.delete(Session).where(
            db.or_(
                Session.expires_at < now,
                Session.seen_at + Session.idle < now,
                Session.digest == digest(_sent() or ""),
            )
        )
    )
    for_a_year = by_link and is_loopback(request.host)
    secret = secrets.token_urlsafe(32)
    session = Session(
        digest=digest(secret),
        account_id=account_id,
        created_at=now,
        seen_at=now,
        idle=YEAR if for_a_year else current_app.config["SESSION_IDLE_DAYS"] * 86400,
        expires_at=now + (YEAR if for_a_year else current_app.config["SESSION_DAYS"] * 86400),
        proved_at=now,
        browser=line(request.user_agent.string, 300),
        address=line(request.remote_addr, 60),
    )
    db.session.add(session)
    return secret


def prove(session_id: int) -> str:
    """It was proved just now that it is the person: a new secret, so that a copied one is not proved with it."""
    begin_writing()
    secret = secrets.token_urlsafe(32)
    db.session.execute(
        db.update(Session)
        .where(Session.id == session_id)
        .values(digest=digest(secret), proved_at=time.time())
    )
    return secret


def give_cookie(answer: Response, secret: str) -> None:
    cookies.give(answer, cookies.session_cookie(), secret, YEAR)  # the row says when it is over


# Made once: it is asked by every request, and to make it takes longer than to run it.
_SIGNED_IN = (
    db.select(Account.id, Account.name, Account.role, Account.guest_of, Session.id, Session.proved_at)
    .add_columns(Session.seen_at, db.and_(Account.password != "", Account.totp == ""))
    .join(Session, Session.account_id == Account.id)
    .where(
        Session.digest == db.bindparam("digest"),
        Session.expires_at > db.bindparam("now"),
        Session.seen_at + Session.idle > db.bindparam("now"),
        comes_in(),
    )
)


def viewer_of_request(*, looks: bool = True) -> Viewer | None:
    """Whose browser it is that sends this request. `looks`: and that is a sign of life of its person."""
    secret = _sent()
    if not secret:
        return None
    now = time.time()
    # Not in the session: a view that writes would first have to end the transaction that this opens.
    with db.engine.connect() as connection:
        row = connection.execute(_SIGNED_IN, {"digest": digest(secret), "now": now}).first()
    if row is None:
        return None
    account_id, name, role, guest_of, session_id, proved_at, seen_at, by_password_alone = row
    if looks and seen_at < now - SEEN_SECONDS and request.endpoint not in POLLS:
        _note_seen(session_id, now)
    owner_id = guest_of or account_id
    return Viewer(account_id, name, role, owner_id, session_id, proved_at, bool(by_password_alone))


def _note_seen(session_id: int, now: float) -> None:
    """A look at a page never waits for who writes: then the next look notes it."""
    seen = (
        db.update(Session)
        .where(Session.id == session_id)
        .values(seen_at=now, address=line(request.remote_addr, 60))
    )
    impatient = {"immediate": True, "relaxed": True, "impatient": True}
    try:
        with db.engine.connect().execution_options(**impatient) as connection, connection.begin():
            connection.execute(seen)
    except DBAPIError as error:
        current_app.logger.info("When a browser was seen was not noted: %s", error.orig)


def of(account_id: int) -> list[Session]:
    """Those that are not over, the latest one first."""
    now = time.time()
    return list(
        db.session.scalars(
            db.select(Session)
            .where(
                Session.account_id == account_id,
                Session.expires_at > now,
                Session.seen_at + Session.idle > now,
            )
            .order_by(Session.seen_at.desc(), Session.id.desc())
        )
    )


def end(account_id: int, session_id: int) -> bool:
    """One of the account's own; of somebody else's it says, like of none, that there was none."""
    begin_writing()
    mine = db.delete(Session).where(Session.id == session_id, Session.account_id == account_id)
    return db.session.scalar(mine.returning(Session.id)) is not None


def end_this_one() -> None:
    """The one of this request."""
    begin_writing()
    this = db.delete(Session).where(Session.digest == digest(_sent() or "")).returning(Session.id)
    if db.session.scalar(this) is not None:
        audit.note("signed out")
    db.session.commit()


def end_all(account_id: int, but: int | None = None) -> int:
    """How many were ended."""
    begin_writing()
    all_of_it = db.delete(Session).where(Session.account_id == account_id)
    if but is not None:
        all_of_it = all_of_it.where(Session.id != but)
    return len(db.session.scalars(all_of_it.returning(Session.id)).all())


def digest(secret: str) -> str:
    # No salt and no slow hash: 256 random bits cannot be guessed. "surrogateescape" may stand in a cookie.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _sent() -> str | None:
    return request.cookies.get(cookies.session_cookie())

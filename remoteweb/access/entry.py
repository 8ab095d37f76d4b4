"""Ways in: a link that works once, and the cookie that it leaves. Only their digests are stored."""

import hashlib
import secrets
import time

from remoteweb.accounts import Account, Entry, Session
from remoteweb.database import begin_writing, db
from remoteweb.viewer import Viewer

LINK_SECONDS = 3600.0
COOKIE_SECONDS = 365 * 86400.0


def new_link(base_url: str) -> str:
    """A link under `base_url` (http://localhost:8000) that lets one browser in, once, within an hour."""
    begin_writing()
    now = time.time()
    db.session.execute(db.delete(Entry).where(Entry.expires_at < now))
    token = _new("link", now, LINK_SECONDS)
    db.session.commit()
    return f"{base_url.rstrip('/')}/enter/{token}"


def use_link(token: str) -> str | None:
    """The value of a new cookie; None: the link was used, is too old, or never was."""
    begin_writing()
    now = time.time()
    used = db.session.scalar(
        db.update(Entry)
        .where(
            Entry.digest == _digest(token),
            Entry.kind == "link",
            Entry.used_at.is_(None),
            Entry.expires_at > now,
        )
        .values(used_at=now)
        .returning(Entry.account_id)
    )
    cookie = _new_session(used, now) if used else None
    db.session.commit()
    return cookie


def signed_in(cookie: str | None) -> Viewer | None:
    """Whose browser it is that sends this cookie."""
    if not cookie:
        return None
    query = (
        db.select(Account.id, Account.name, Account.role, Account.guest_of, Session.id, Session.proved_at)
        .join(Session, Session.account_id == Account.id)
        .where(
            Session.digest == _digest(cookie),
            Session.expires_at > time.time(),
            Account.disabled_at.is_(None),
        )
    )
    # Not in the session: a view that writes would first have to end the transaction that this opens.
    with db.engine.connect() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    account_id, name, role, guest_of, session_id, proved_at = row
    return Viewer(account_id, name, role, guest_of or account_id, session_id, proved_at)


def _new_session(account_id: int, now: float) -> str:
    secret = secrets.token_urlsafe(32)
    session = Session(
        digest=_digest(secret),
        account_id=account_id,
        created_at=now,
        seen_at=now,
        expires_at=now + COOKIE_SECONDS,
        proved_at=now,
    )
    db.session.add(session)
    return secret


def _new(kind: str, now: float, seconds: float) -> str:
    secret = secrets.token_urlsafe(32)
    db.session.add(Entry(digest=_digest(secret), kind=kind, created_at=now, expires_at=now + seconds))
    return secret


def _digest(secret: str) -> str:
    # No salt and no slow hash: 256 random bits cannot be guessed. "surrogateescape" may stand in a cookie.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()

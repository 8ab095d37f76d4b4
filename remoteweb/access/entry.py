"""Ways in: a link that works once, and the cookie that it leaves. Only their digests are stored."""

import hashlib
import secrets
import time

from remoteweb.database import begin_writing, db
from remoteweb.models import Entry

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
        .returning(Entry.digest)
    )
    cookie = _new("cookie", now, COOKIE_SECONDS) if used else None
    db.session.commit()
    return cookie


def is_let_in(cookie: str | None) -> bool:
    if not cookie:
        return False
    # Not in the session: a view that writes would first have to end the transaction that this opens.
    with db.engine.connect() as connection:
        return (
            connection.scalar(
                db.select(Entry.digest).where(
                    Entry.digest == _digest(cookie), Entry.kind == "cookie", Entry.expires_at > time.time()
                )
            )
            is not None
        )


def _new(kind: str, now: float, seconds: float) -> str:
    secret = secrets.token_urlsafe(32)
    db.session.add(Entry(digest=_digest(secret), kind=kind, created_at=now, expires_at=now + seconds))
    return secret


def _digest(secret: str) -> str:
    # No salt and no slow hash: 256 random bits cannot be guessed. "surrogateescape" may stand in a cookie.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()

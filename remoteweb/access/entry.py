"""Ways in that work once: a printed link. Only its token's digest is stored."""

import secrets
import time

from sqlalchemy import ColumnElement, Select, select

from remoteweb.access import sessions
from remoteweb.access.sessions import digest
from remoteweb.accounts import FIRST, Account, Entry
from remoteweb.database import begin_writing, db

LINK_SECONDS = 3600.0


def new_link(base_url: str) -> str:
    """A link under `base_url` (http://localhost:8000) that lets one browser in, once, within an hour."""
    begin_writing()
    token = add("link", FIRST, LINK_SECONDS)
    db.session.commit()
    return f"{base_url.rstrip('/')}/enter/{token}"


def use_link(token: str) -> str | None:
    """The secret of a new session; None: the link was used, is too old, or never was."""
    begin_writing()
    account_id = take("link", token)
    secret = sessions.begin(account_id, by_link=True) if account_id is not None else None
    db.session.commit()
    return secret


def add(kind: str, account_id: int, seconds: float) -> str:
    """A new token, in the caller's transaction."""
    now = time.time()
    db.session.execute(db.delete(Entry).where(Entry.expires_at < now))
    token = secrets.token_urlsafe(32)
    entry = Entry(digest=digest(token), kind=kind, account_id=account_id, created_at=now)
    entry.expires_at = now + seconds
    db.session.add(entry)
    return token


def take(kind: str, token: str) -> int | None:
    """Uses it up, in the caller's transaction: whose it is; None: it was used, is too old, or never was."""
    now = time.time()
    used = (
        db.update(Entry).where(*_good(kind, token, now), Entry.account_id.in_(_enabled())).values(used_at=now)
    )
    account_id: int | None = db.session.scalar(used.returning(Entry.account_id))
    return account_id


def of(kind: str, token: str) -> int | None:
    """Whose it is, without using it up."""
    query = select(Entry.account_id).where(*_good(kind, token, time.time()))
    return db.session.scalar(query.where(Entry.account_id.in_(_enabled())))


def _good(kind: str, token: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        Entry.digest == digest(token),
        Entry.kind == kind,
        Entry.used_at.is_(None),
        Entry.expires_at > now,
    )


def _enabled() -> Select[int]:
    return select(Account.id).where(Account.disabled_at.is_(None))

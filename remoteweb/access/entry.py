"""Ways in that work once: a printed link, and an invitation. Only their tokens' digests are stored."""

import secrets
import time

from sqlalchemy import ColumnElement, select

from remoteweb import audit
from remoteweb.access.sessions import digest
from remoteweb.accounts import FIRST, Account, Entry, comes_in
from remoteweb.database import begin_writing, db

LINK_SECONDS = 3600.0
INVITATION_SECONDS = 86400.0


def new_link(base_url: str) -> str:
    """A link under `base_url` (http://localhost:8000) that lets one browser in, once, within an hour."""
    begin_writing()
    token = add("link", FIRST, LINK_SECONDS)
    db.session.commit()
    return f"{base_url.rstrip('/')}/enter/{token}"


def new_invitation(account: Account, base_url: str) -> str:
    """A link under `base_url` that lets one browser in to an account, once, within a day, to give it a way in of its own."""
    begin_writing()
    invitations = db.delete(Entry).where(Entry.account_id == account.id, Entry.kind == "invitation")
    db.session.execute(
        invitations
    )  # the last one counts: it is made anew where the former may have been seen
    token = add("invitation", account.id, INVITATION_SECONDS)
    audit.note("invited", account.name)
    db.session.commit()
    return f"{base_url.rstrip('/')}/invited/{token}"


def add(kind: str, account_id: int, seconds: float) -> str:
    """A new token, in the caller's transaction."""
    now = time.time()
    db.session.execute(db.delete(Entry).where(Entry.expires_at < now))
    token = secrets.token_urlsafe(32)
    entry = Entry(digest=digest(token), kind=kind, account_id=account_id, created_at=now)
    entry.expires_at = now + seconds
    db.session.add(entry)
    return token


def use(kind: str, token: str) -> Account | None:
    """Uses it up, in the caller's transaction: whose it is; None: it was used, is too old, or never was."""
    if of(kind, token) is None:
        return None  # a stranger who tries one after the other makes nobody wait
    begin_writing()
    now = time.time()
    used = db.update(Entry).where(*_good(kind, token, now)).values(used_at=now).returning(Entry.account_id)
    account_id = db.session.scalar(used)
    return None if account_id is None else db.session.get(Account, account_id)


def of(kind: str, token: str) -> Account | None:
    """Whose it is, without using it up."""
    query = (
        select(Account).join(Entry, Entry.account_id == Account.id).where(*_good(kind, token, time.time()))
    )
    return db.session.scalar(query.where(comes_in()))


def _good(kind: str, token: str, now: float) -> tuple[ColumnElement[bool], ...]:
    return (
        Entry.digest == digest(token),
        Entry.kind == kind,
        Entry.used_at.is_(None),
        Entry.expires_at > now,
    )

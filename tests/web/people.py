"""Accounts beside the first one, and their browsers, for the tests of who sees what and who may do what."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from flask.testing import FlaskClient
from web.conftest import BROWSER

from remoteweb.access import sessions
from remoteweb.accounts import Account, Session
from remoteweb.database import begin_writing, db
from remoteweb.viewer import Viewer, become


def account(app: Flask, name: str, role: str = "user", guest_of: int | None = None) -> int:
    with app.app_context():
        begin_writing()
        row = Account(name=name, role=role, guest_of=guest_of, handle=name, created_at=time.time())
        db.session.add(row)
        db.session.commit()
        return row.id


def browser(app: Flask, account_id: int, **columns: float) -> FlaskClient:
    """One that is signed in to this account, as a sign-in leaves it; `columns` of its session say otherwise."""
    secret, now = secrets.token_urlsafe(32), time.time()
    times = {
        "created_at": now,
        "seen_at": now,
        "idle": 86400.0,
        "expires_at": now + 86400,
        "proved_at": now,
        **columns,
    }
    with app.app_context():
        begin_writing()
        db.session.add(Session(digest=sessions.digest(secret), account_id=account_id, **times))
        db.session.commit()
    client = app.test_client()
    client.environ_base = {**client.environ_base, **BROWSER}
    client.set_cookie("remoteweb", secret)
    return client


@contextmanager
def working_for(app: Flask, account_id: int) -> Iterator[None]:
    """As a command that names this account."""
    with app.app_context():
        row = db.session.get_one(Account, account_id)
        become(Viewer(row.id, row.name, row.role, row.sees))
        yield

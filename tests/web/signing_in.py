"""Accounts for the tests, and browsers that sign in to them."""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from known_secrets import known
from web.conftest import BROWSER
from werkzeug.test import TestResponse

from remoteweb.access import passwords, people
from remoteweb.accounts import Account
from remoteweb.database import db

PASSWORD = known("four unlikely words here")


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real ones, with less work in each."""
    monkeypatch.setattr(passwords, "METHOD", "scrypt:1024:8:1")


def make(app: Flask, name: str, password: str = PASSWORD, **what: Any) -> int:
    with app.app_context():
        account = people.create(name, **what)
        if password:
            people.set_password(account, password)
        return account.id


def change(app: Flask, account_id: int, **columns: Any) -> None:
    with app.app_context():
        db.session.execute(db.update(Account).where(Account.id == account_id).values(**columns))
        db.session.commit()


def browser(
    app: Flask, address: str = "198.51.100.7", agent: str = "Mozilla/5.0 (Android) Firefox/140"
) -> FlaskClient:
    client = app.test_client()
    client.environ_base = {**client.environ_base, **BROWSER, "REMOTE_ADDR": address, "HTTP_USER_AGENT": agent}
    return client


def sign_in(client: FlaskClient, name: str, password: str = PASSWORD, **form: str) -> TestResponse:
    return client.post("/sign-in", data={"name": name, "password": password, **form})


def said(answer: TestResponse) -> str:
    match = re.search(r'class="said"[^>]*>([^<]*)<', answer.text)
    return match[1] if match else ""


def is_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200

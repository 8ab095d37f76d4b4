"""What was not allowed stands in the audit log: who, what and why; and who is refused without end fills nothing with it."""

import threading
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from web import people
from web.syncing import eventually

from remoteweb import refused
from remoteweb.access import throttle
from remoteweb.accounts import Audit, Refusal
from remoteweb.database import begin_writing, db
from remoteweb.sync.worker import Worker

FOREIGN = {"Sec-Fetch-Site": "cross-site"}
OWN = {"Sec-Fetch-Site": "same-origin"}


def noted(app: Flask) -> list[tuple[int | None, str, str, str]]:
    """Whose, who, what, why: of those that were refused, in their order."""
    query = db.select(Audit.account_id, Audit.who, Audit.subject, Audit.detail)
    with app.app_context():
        rows = db.session.execute(query.where(Audit.what == "was refused").order_by(Audit.id))
        return [tuple(row) for row in rows]


@pytest.fixture
def guest(app: Flask) -> tuple[int, FlaskClient]:
    account = people.account(app, "grace", "guest", guest_of=1)
    return account, people.browser(app, account)


def test_what_a_guest_may_not_do(app: Flask, guest: tuple[int, FlaskClient]) -> None:
    account, browser = guest
    assert browser.post("/sync").status_code == 403
    assert noted(app) == [(account, "grace", "POST /sync", "guests only look")]
    assert "grace was refused POST /sync" in browser.get("/audit").text, "and they find it in their log"
    assert "grace was refused" in people.browser(app, 1).get("/audit").text
    other = people.browser(app, people.account(app, "bob"))
    assert "was refused" not in other.get("/audit").text


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_an_administrators(app: Flask, method: str) -> None:
    account = people.account(app, "ada")
    assert people.browser(app, account).open("/users", method=method).status_code == 404
    assert noted(app) == [(account, "ada", f"{method.upper()} /users", "it is an administrator's")]


def test_what_comes_from_another_page_with_the_cookie_and_without(app: Flask) -> None:
    account = people.account(app, "ada")
    browser = people.browser(app, account, seen_at=time.time() - 1000)
    for one in (browser, app.test_client()):
        assert one.post("/servers/3/sign-in", headers=FOREIGN).status_code == 403
    route = "POST /servers/<int(max=2147483647):server_id>/sign-in"
    why = "it came from no page of ours"
    assert noted(app) == [(account, "ada", route, why), (None, "a stranger", route, why)]
    with app.app_context():
        seen = db.session.execute(text("SELECT seen_at FROM session")).scalar_one()
    assert seen < time.time() - 900, "that was no look of the person"


def test_words_of_a_stranger_come_into_no_row(app: Flask) -> None:
    app.test_client().open(
        "/%3Cscript%3E?x=canary", method="CANARY", headers={**FOREIGN, "Host": "localhost"}
    )
    assert noted(app) == [(None, "a stranger", "? no page of ours", "it came from no page of ours")]


def test_who_tries_too_often(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "ADDRESS", throttle.Limit(1, 60.0))
    stranger = app.test_client()
    form = {"name": "nobody", "password": "wrong-canary"}
    answers = [stranger.post("/sign-in", data=form, headers=OWN).status_code for _ in range(3)]
    assert answers == [401, 429, 429]
    assert noted(app) == [(None, "a stranger", "POST /sign-in", "too many tries")]


def test_what_asks_for_a_proof_or_was_noted_as_failed_is_not_refused(app: Flask) -> None:
    browser = people.browser(app, 1, proved_at=1.0)
    assert browser.post("/servers/add", headers={"HX-Request": "true"}).status_code == 403
    assert browser.post("/proof", data={"password": "wrong"}).status_code == 403
    assert noted(app) == []


def test_hundreds_are_one_row_and_then_a_number(app: Flask, guest: tuple[int, FlaskClient]) -> None:
    account, browser = guest
    for _ in range(40):
        browser.post("/sync", headers={"X-Forwarded-For": "203.0.113.9"})
        app.test_client().post("/sync", headers=FOREIGN)
    assert len(noted(app)) == 2
    for seconds, rows in (
        (refused.KNOWN_SECONDS - 30, 2),
        (refused.KNOWN_SECONDS + 30, 3),
        (refused.STRANGER_SECONDS + 30, 4),
    ):
        with app.app_context():
            begin_writing()
            db.session.execute(db.update(Refusal).values(since=time.time() - seconds))
            db.session.commit()
            refused.settle()
        assert len(noted(app)) == rows
    last = "the last from 127.0.0.1"
    assert noted(app)[2:] == [
        (account, "grace", "at least 39 times more", f"guests only look, {last}"),
        (None, "a stranger", "at least 39 times more", f"it came from no page of ours, {last}"),
    ]


def test_a_time_in_which_nothing_more_came_is_forgotten(app: Flask, guest: tuple[int, FlaskClient]) -> None:
    _, browser = guest
    for _ in range(2):
        browser.post("/sync")
        with app.app_context():
            begin_writing()
            db.session.execute(db.update(Refusal).values(since=1.0))
            db.session.commit()
            refused.settle()
            assert db.session.scalars(db.select(Refusal)).all() == []
    assert len(noted(app)) == 2, "each at once"


def test_the_worker_brings_the_number_into_the_log(
    app: Flask, guest: tuple[int, FlaskClient], worker: Worker
) -> None:
    _, browser = guest
    browser.post("/sync")
    browser.post("/sync")
    with app.app_context():
        begin_writing()
        db.session.execute(db.update(Refusal).values(since=1.0))
        db.session.commit()
    eventually(lambda: len(noted(app)) == 2)
    assert noted(app)[1][2] == "once more"


def test_while_somebody_else_writes_nobody_waits_to_be_counted(
    app: Flask, guest: tuple[int, FlaskClient]
) -> None:
    _, browser = guest
    browser.post("/sync")
    written, answered = threading.Event(), threading.Event()

    def write() -> None:
        with app.app_context():
            begin_writing()
            db.session.execute(text("UPDATE refusal SET count = count"))
            written.set()
            answered.wait(20)
            db.session.rollback()

    thread = threading.Thread(target=write)
    thread.start()
    written.wait(20)
    began = time.monotonic()
    try:
        assert browser.post("/sync").status_code == 403
        assert time.monotonic() - began < 5
    finally:
        answered.set()
        thread.join()
    assert len(noted(app)) == 1


def test_a_refusal_stays_one_where_the_database_cannot_say_whose_it_was(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    browser = people.browser(app, people.account(app, "ada"))
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("ALTER TABLE session RENAME TO away"))
    with caplog.at_level("INFO"):
        assert browser.post("/sync", headers=FOREIGN).status_code == 403
    assert noted(app) == [], "it is not said to be a stranger's"
    assert "A refused request was not noted" in caplog.text

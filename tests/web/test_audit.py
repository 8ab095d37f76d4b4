"""What was done by whom: it is there with what was done, in the order of the commits, and a change of it is found."""

import json
import logging
import re
import threading

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from web import rows
from web.terminals import run

from remoteweb import audit
from remoteweb.accounts import Account, Audit
from remoteweb.database import begin_writing, db
from remoteweb.models import Counter, Server
from remoteweb.viewer import Viewer, become

OTHER = Viewer(2, "ada", "user", 2)


def noted(*what: str) -> None:
    for one in what:
        audit.note(one)
    db.session.commit()


def whats() -> list[str]:
    return [row.what for row in reversed(audit.latest(1000))]


def tamper(statement: str) -> None:
    """As the owner of the database can: without what hinders."""
    triggers = ["audit_no_update", "audit_no_delete"] if db.engine.dialect.name == "sqlite" else []
    for name in triggers:
        db.session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
    if not triggers:
        db.session.execute(text("DROP TRIGGER IF EXISTS audit_only_added ON audit"))
    db.session.execute(text(statement))
    db.session.commit()


def test_what_is_noted_stands_with_who_when_and_to_what(app: Flask) -> None:
    with app.app_context():
        audit.note("added the server", "alps", "as me", who=OTHER)
        audit.note("began")
        db.session.commit()
        first, second = reversed(audit.latest(10))
        assert (first.id, first.account_id, first.who, first.what) == (1, 2, "ada", "added the server")
        assert (first.subject, first.detail, first.address) == ("alps", "as me", "")
        assert (second.id, second.account_id, second.who) == (2, 1, "admin")
        assert audit.verify().head == second.digest


def test_what_was_not_done_is_not_noted(app: Flask) -> None:
    with app.app_context():
        audit.note("paused")
        db.session.rollback()
        noted("resumed")
        assert whats() == ["resumed"]
        assert audit.verify().broken_at is None


def test_it_comes_with_what_the_same_transaction_writes(app: Flask) -> None:
    with app.app_context():
        begin_writing()
        db.session.add(Server(user="me", host="alps", port=22))
        audit.note("added the server", "alps")
        db.session.flush()
        with app.app_context():  # another one looks
            assert audit.latest(1) == []
        db.session.commit()
        assert whats() == ["added the server"]


def test_words_are_cleaned_and_bounded(app: Flask) -> None:
    with app.app_context():
        audit.note("a\x1b[2Jb\u202e\nc\0", "s" * 5000, "d" * 5000, who="w" * 5000)
        db.session.commit()
        (row,) = audit.latest(1)
        assert not re.search(r"[\x00-\x1f\u202e]", row.what + row.subject)
        assert max(len(row.who), len(row.what), len(row.subject), len(row.detail)) <= 500
        assert audit.verify().broken_at is None


def test_many_writers_make_one_chain(app: Flask) -> None:
    """Each with a change of its own, half of them before the note and half after: none waits for another for ever."""

    def write(number: int) -> None:
        with app.app_context():
            for turn in range(10):
                begin_writing()
                first_of_all = (number + turn) % 2
                if first_of_all:
                    audit.note(f"{number}.{turn}")
                counter = db.update(Counter).where(Counter.name == "change")
                db.session.execute(counter.values(value=Counter.value + 1))
                if not first_of_all:
                    audit.note(f"{number}.{turn}")
                if turn == 5:
                    db.session.rollback()
                else:
                    db.session.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with app.app_context():
        verdict = audit.verify()
        assert (verdict.rows, verdict.broken_at) == (36, None)
        of_each = [[what for what in whats() if what.startswith(f"{number}.")] for number in range(4)]
        assert of_each == [[f"{number}.{turn}" for turn in range(10) if turn != 5] for number in range(4)]


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'eve'", "DELETE FROM audit WHERE id = 1"])
def test_the_database_refuses_to_change_or_delete_a_row(app: Flask, statement: str) -> None:
    with app.app_context():
        noted("one", "two")
        with pytest.raises(DBAPIError, match="only added to"):
            db.session.execute(text(statement))
        db.session.rollback()
        assert audit.verify().rows == 2


@pytest.mark.postgresql
def test_postgresql_refuses_to_empty_it(app: Flask) -> None:
    with app.app_context(), pytest.raises(DBAPIError, match="only added to"):
        db.session.execute(text("TRUNCATE audit"))


TAMPERED = {
    "a word": ("UPDATE audit SET subject = 'x' WHERE id = 2", 2, "not what was written"),
    "who": ("UPDATE audit SET who = 'eve' WHERE id = 1", 1, "not what was written"),
    "the account": ("UPDATE audit SET account_id = NULL WHERE id = 3", 3, "not what was written"),
    "the time": ("UPDATE audit SET at = at - 1 WHERE id = 1", 1, "not what was written"),
    "the first row away": ("DELETE FROM audit WHERE id = 1", 1, "Row 1 is missing"),
    "one between away": ("DELETE FROM audit WHERE id = 2", 2, "Row 2 is missing"),
    "the last away": ("DELETE FROM audit WHERE id = 3", 3, "3 rows were written, 2 are there"),
    "two exchanged": ("UPDATE audit SET id = -id WHERE id < 3", 1, "Row 1 is missing"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_change_behind_its_back_is_found(app: Flask, case: str) -> None:
    statement, row, sentence = TAMPERED[case]
    with app.app_context():
        noted("one", "two", "three")
        assert audit.verify().broken_at is None
        tamper(statement)
        db.session.expunge_all()
        verdict = audit.verify()
    assert verdict.broken_at == row
    assert sentence in verdict.sentence


def test_a_chain_that_was_made_anew_is_found_by_the_digest_that_was_noted_elsewhere(app: Flask) -> None:
    with app.app_context():
        noted("one", "two")
        head = audit.verify().head
        noted("three")
        assert audit.verify(head).broken_at is None
        tamper("DELETE FROM audit")
        tamper("UPDATE counter SET value = 0 WHERE name = 'audit'")
        noted("two", "three")
        assert audit.verify().broken_at is None
        assert "noted elsewhere" in audit.verify(head).sentence


def test_the_command_lists_and_verifies(app: Flask) -> None:
    with app.app_context():
        noted("one", "two")
        head = audit.verify().head
        db.session.remove()
    listed = run("audit").stdout.splitlines()
    assert [line.split("  ")[-1] for line in listed] == ["admin two", "admin one"]
    assert [row["what"] for row in json.loads(run("audit", "--json", "--limit", "1").stdout)] == ["two"]
    good = run("audit", "--verify", "--head", head)
    assert (good.returncode, good.stdout.strip()[-64:]) == (0, head)
    with app.app_context():
        tamper("UPDATE audit SET what = 'nothing' WHERE id = 2")
    bad = run("audit", "--verify")
    assert bad.returncode == 1 and "Row 2 is not what was written" in bad.stderr


def test_the_log_gets_each_row_only_when_it_was_asked_for(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    with app.app_context(), caplog.at_level(logging.INFO):
        noted("silently")
        app.config["AUDIT_TO_LOG"] = True
        audit.note("in vain")
        db.session.rollback()
        noted("aloud")
        assert caplog.messages == [f"audit 2 {audit.verify().head}: admin aloud"]


def test_an_administrator_sees_everybodys_rows_and_anybody_else_their_own(app: Flask) -> None:
    with app.app_context():
        begin_writing()
        db.session.add(Account(id=2, name="ada", role="user", created_at=0.0))
        audit.note("hers", who=OTHER)
        audit.note("ours")
        db.session.commit()
        assert whats() == ["hers", "ours"]
        become(OTHER)
        assert whats() == ["hers"]
        become(None)


def test_the_page_shows_it_as_text_and_goes_on(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        noted(*(f"<b>did {number}</b>" for number in range(60)))
    first = client.get("/audit").text
    assert "&lt;b&gt;did 59&lt;/b&gt;" in first and "<b>did" not in first
    earlier = re.search(r'href="(/audit\?before=\d+)"', first)
    assert earlier
    second = client.get(earlier[1]).text
    assert "did 0&lt;" in second and "did 59&lt;" not in second
    assert client.get("/audit?before=nonsense").status_code == 200


def test_a_row_is_as_large_as_is_written_down(app: Flask) -> None:
    with app.app_context():
        at = rows.server()
        audit.note("asked to cancel", "train-resnet", f"job 4711 on {at.label}")
        db.session.commit()
        (row,) = audit.latest(1)
        assert sum(len(str(getattr(row, column.key))) for column in Audit.__table__.columns) < 300

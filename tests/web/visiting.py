"""Two owners whose every field holds a word of their own, and visitors whose every answer is looked at."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from web import rows
from web.conftest import BROWSER
from web.hostile import run, settings
from web.people import account, browser, working_for
from web.signing_in import PASSWORD
from web.syncing import APP
from werkzeug.test import TestResponse

from remoteweb import actions, hostkeys, leases, ways
from remoteweb.access import passwords
from remoteweb.accounts import GUEST, USER, Account
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Event, Job, Source
from remoteweb.untrusted import document

CPU_SECONDS = (
    3.0  # of one answer, whatever else the machine does meanwhile: a hash of a password takes a tenth of it
)
GIVEN_AWAY = ("Traceback (most recent call last)", "werkzeug.debug", "sqlalchemy.exc", "psycopg.errors")


@dataclass
class Owner:
    app: Flask
    id: int
    word: str

    def furnish(self) -> None:
        """A server, a source, and jobs in several states, with the owner's word in every field."""
        with working_for(self.app, self.id):
            number = secrets.token_hex(4)
            texts = {"host": f"{number}.{self.word}", "alias": self.word, "error": self.word}
            server = rows.server(owner_id=self.id, **texts)
            source = rows.source(server, f"{APP}-{self.word}-{number}", error=self.word)
            for state in ("running", "failed", "queued", "unknown"):
                self._job(source, state)
            rows.job(source, f"{self.word}-{secrets.token_hex(4)}", "failed")  # with nothing asked of it yet
            begin_writing()
            db.session.add(run(server, "done", self.word))
            db.session.commit()
            self._signed_in()
            self._logins(number)
            self._keys(f"{number}.{self.word}")

    def _signed_in(self) -> None:
        """A server whose open connection is kept, and one that waits for somebody to sign in."""
        for kept_until in (time.time() + 3600, 0.0):
            host = f"{secrets.token_hex(4)}.{self.word}"
            kept = {"asks": True, "kept_until": kept_until, "kept_by": leases.new_owner()}
            rows.source(rows.server(host, host, owner_id=self.id, **kept), f"{APP}-{self.word}")

    def _logins(self, number: str) -> None:
        """One in each state in which a page has something for a person to do, and a host key that was accepted."""
        line = f"{number}.{self.word} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
        later = time.time() + 3600
        begin_writing()
        hostkeys.accept(self.id, line, self.word)
        for state in (ways.FAILED, ways.WAITING, ways.HOST_KEY, ways.ASKING):
            login = ways.Login(
                owner_id=self.id, user="me", host=f"{state}.{number}.{self.word}", port=22, app=APP
            )
            login.asked_by, login.asked_at, login.changed_at, login.state = self.word, later, later, state
            login.seen_at, login.holder = later, leases.new_owner()
            login.ended_at = later if state == ways.FAILED else None
            login.key_line = line if state in (ways.HOST_KEY, ways.FAILED) else ""
            login.sentence = login.key_server = self.word
            db.session.add(login)
            db.session.flush()
            if state == ways.ASKING:
                words = dict.fromkeys(("server", "user", "title", "instructions"), self.word)
                asked = document({"asked": [{"text": self.word, "echo": False}]})[9:-1]
                question = ways.Question(login_id=login.id, token="x", socket="none", kind="code", **words)
                question.questions, question.asked_at, question.expires_at = asked, later, later
                db.session.add(question)
        db.session.commit()

    def _keys(self, host: str) -> None:
        """Of one login: a key in use, one that was revoked, one that could not be made; of another: one that waits."""
        begin_writing()
        for port, state in ((22, ways.REVOKED), (22, ways.IN_USE), (22, ways.UNMADE), (23, ways.WANTED)):
            public = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
            key = ways.MadeKey(owner_id=self.id, user="me", host=host, port=port, state=state)
            key.public = public if state in (ways.REVOKED, ways.IN_USE) else ""
            key.asked_by, key.sentence, key.asked_at = self.word, self.word, time.time()
            key.accepted_at = key.ended_at = time.time()
            db.session.add(key)
        db.session.commit()

    def _job(self, source: Source, state: str) -> None:
        name = f"{self.word}-{secrets.token_hex(4)}"
        of_queue = ("partition", "nodes", "raw", "reason", "cluster")
        texts = dict.fromkeys(of_queue, self.word) | {"scheduler": self.word, "scheduler_id": self.word}
        asked = document(settings() | {"script": self.word, "command": self.word})
        job = rows.job(source, name, state, **texts, settings=asked)
        begin_writing()
        db.session.add(
            Event(job_id=job.id, seen_at=time.time(), state="unknown", raw=self.word, evidence=self.word)
        )
        db.session.commit()
        if state == "running":
            actions.ask(job, "cancel", secrets.token_hex(8), job.revision)

    def is_bare(self) -> bool:
        with self.app.app_context():
            of = db.select(Job.id).where(Job.owner_id == self.id)
            return db.session.scalar(of.limit(1)) is None


def owner(app: Flask, name: str, role: str = USER, guest_of: int | None = None) -> Owner:
    """With a password, so that what is asked of who has one is there."""
    one = Owner(app, account(app, name, role, guest_of), f"{name}-canary")
    with app.app_context():
        begin_writing()
        hashed = passwords.hashed(PASSWORD)
        db.session.execute(db.update(Account).where(Account.id == one.id).values(password=hashed))
        db.session.commit()
    return one


@dataclass
class Visitor:
    """A browser that is signed in to `account` (None: a stranger), and must never read any of the words in `foreign`."""

    app: Flask
    account: int | None
    foreign: tuple[str, ...]
    client: FlaskClient = field(init=False)
    slowest: tuple[float, str] = (0.0, "")

    def __post_init__(self) -> None:
        self.sign_in()

    def sign_in(self) -> None:
        """Anew, whatever the requests before did to the account."""
        if self.account is None:
            self.client = self.app.test_client()
            self.client.environ_base = {**self.client.environ_base, **BROWSER}
            return
        with self.app.app_context():
            begin_writing()
            shut_out = db.update(Account).where(Account.id == self.account)
            db.session.execute(shut_out.values(disabled_at=None))
            db.session.commit()
        browser(self.app, self.account)  # another one, which a page can sign out
        self.client = browser(self.app, self.account)

    def is_in(self) -> bool:
        return self.client.get("/account").status_code == 200

    def ask(self, path: str, **options: Any) -> TestResponse:
        began = time.thread_time()
        answer = self.client.open(path, buffered=True, **options)
        taken = time.thread_time() - began
        self.slowest = max(self.slowest, (taken, path))
        assert taken < CPU_SECONDS
        self._look_at(answer)
        return answer

    def _look_at(self, answer: TestResponse) -> None:
        assert answer.status_code < 500, answer.text[:2000]
        text = answer.get_data(as_text=False).decode("utf-8", "replace")
        said = text + str(answer.headers)
        assert [word for word in (*GIVEN_AWAY, *self.foreign) if word in said] == []
        is_part = "HX-Request" in answer.request.headers
        if answer.request.path.startswith("/static/") and answer.status_code == 200:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        elif answer.status_code != 304 and not is_part:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"


@dataclass
class World:
    """Ada and Boris, who own something; the first account, an administrator; a guest of Ada; and a stranger."""

    app: Flask
    owners: list[Owner]
    visitors: list[Visitor]

    def refresh(self) -> None:
        """What earlier requests took away is there again."""
        for one in self.owners:
            if one.is_bare():
                one.furnish()
        for visitor in self.visitors:
            if visitor.account and not visitor.is_in():
                visitor.sign_in()

    def ids(self) -> list[int]:
        with self.app.app_context():
            return sorted({*db.session.scalars(db.select(Job.id)), *db.session.scalars(db.select(Source.id))})

    def uuids(self) -> list[str]:
        with self.app.app_context():
            return list(db.session.scalars(db.select(Action.uuid).order_by(Action.id)))


def world(app: Flask) -> World:
    ada, boris = owner(app, "ada"), owner(app, "boris")
    guest = owner(app, "grace", GUEST, ada.id)
    for one in (ada, boris):
        one.furnish()
    visitors = [
        Visitor(app, ada.id, (boris.word,)),
        Visitor(app, boris.id, (ada.word,)),
        Visitor(app, guest.id, (boris.word,)),
        Visitor(app, 1, ()),  # an administrator reads in the audit log what others did
        Visitor(app, None, (ada.word, boris.word)),
    ]
    return World(app, [ada, boris], visitors)

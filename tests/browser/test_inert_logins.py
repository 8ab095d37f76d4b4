"""What a server says while somebody logs in to it is shown and never obeyed: its questions, its host key, its goodbye."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from flask import Flask
from library.asking import AskingServer, serving
from playwright.sync_api import Page, expect
from web import hostile
from web.payloads import PAYLOADS, payload

from remotejobs.prompts import MAX_QUESTIONS
from remoteweb import hostkeys, logins
from remoteweb.accounts import FIRST, HostKey
from remoteweb.database import begin_writing, db
from remoteweb.sync.worker import Worker
from remoteweb.wanted import Wanted
from remoteweb.ways import ASKING, CONNECTING, FAILED, HOST_KEY, Login, Question

from .conftest import Open
from .test_inert import Watch, as_read

ALL = as_read(hostile.ALL)
SOON = 20_000
SPACE = re.compile(r"\s+")
TYPE = "".join(ALL.split()).encode("ascii", "ignore").decode()  # of a key: one word
TITLE = "me@127.0.0.1:{}"


class Login_:
    """A login as a worker moves it on, with a server's words in every place that they come to."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        with app.app_context():
            self.id = logins.begin(FIRST, Wanted("me", "alps.example.org", 22, "app", "", 0), "admin").id
            db.session.commit()

    def becomes(self, state: str, **columns: object) -> None:
        with self._app.app_context():
            begin_writing()
            if state != ASKING:
                db.session.execute(db.delete(Question))
            values = {"state": state, "holder": "elsewhere:1:x", "changed_at": time.time(), **columns}
            db.session.execute(db.update(Login).values(seen_at=time.time(), **values))
            db.session.commit()

    def asks(self) -> None:
        words = dict.fromkeys(("server", "user", "title", "instructions"), hostile.ALL.replace("\0", ""))
        asked = [{"text": text, "echo": bool(number % 2)} for number, text in enumerate(PAYLOADS)]
        times = {"asked_at": time.time(), "expires_at": time.time() + 100}
        with self._app.app_context():
            begin_writing()
            question = Question(login_id=self.id, token="t", socket="s", kind="code", **words, **times)
            question.questions = json.dumps(asked)
            db.session.add(question)
            db.session.commit()
        self.becomes(ASKING)


def key_line(kind: str) -> str:
    """A whole key, of a type that there is not: as it would come from a server, if anything let it through."""
    key = base64.b64encode(len(kind).to_bytes(4) + kind.encode() + bytes(40)).decode()
    return f"[alps.example.org]:22 {kind} {key}"


def test_in_what_a_login_asks_shows_and_says_as_it_comes_to_the_open_page(app: Flask, phone: Open) -> None:
    login = Login_(app)
    page = phone(f"/servers/logins/{login.id}")
    watch = Watch(page)
    title = page.title()
    login.asks()
    expect(page.locator("#question input:not([type=hidden])")).to_have_count(len(PAYLOADS))
    words = page.locator("#question .words").all_text_contents()
    assert words == [as_read(text) for text in PAYLOADS]
    assert ALL in page.locator("#question pre").text_content()
    login.becomes(HOST_KEY, key_line=key_line(TYPE), key_server=hostile.ALL.replace("\0", ""))
    expect(page.locator("#login .fail strong")).to_contain_text(ALL[:200])
    expect(page.locator("#login .fail p").nth(1)).to_have_text(TYPE)
    assert watch.done(title) == []
    login.becomes(CONNECTING)
    page.reload()
    login.becomes(FAILED, sentence=hostile.ALL.replace("\0", ""), ended_at=time.time())
    expect(page.locator("#login .state")).to_contain_text(ALL[:200])
    assert watch.done(title) == []
    page.goto("/servers")
    expect(page.locator("main")).to_contain_text(ALL[:100])
    assert watch.done("Servers") == []


def test_in_the_list_of_the_accepted_host_keys(app: Flask, phone: Open) -> None:
    with app.app_context():
        begin_writing()
        for number, text in enumerate(PAYLOADS):
            words = {"name": payload(number + 1), "type": text, "accepted_by": payload(number + 2)}
            words = {name: word.replace("\0", "") for name, word in words.items()}
            key = base64.b64encode(text.encode("utf-8", "replace")).decode()
            db.session.add(HostKey(owner_id=FIRST, key=key, accepted_at=time.time(), **words))
        db.session.commit()
    page = phone("/servers/host-keys")
    watch = Watch(page)
    assert sorted(page.locator(".server .name").all_text_contents()) == sorted(map(as_read, PAYLOADS))
    assert watch.done("Host keys") == []


class Talkative(AskingServer):
    def get_banner(self) -> tuple[str, str]:
        return "\n".join(PAYLOADS), "en"


def rounds() -> Iterator[paramiko.InteractiveQuery]:
    """All payloads as questions, with others as names and instructions."""
    for start in range(0, len(PAYLOADS), MAX_QUESTIONS):
        asked = [(text, False) for text in PAYLOADS[start : start + MAX_QUESTIONS]]
        yield paramiko.InteractiveQuery(payload(start), "\n".join(PAYLOADS[20:]), *asked)


def begin(app: Flask, port: int) -> int:
    with app.app_context():
        login = logins.begin(FIRST, Wanted("me", "127.0.0.1", port, "app", "", 0), "admin").id
        db.session.commit()
    return login


def test_as_a_server_asks_them_over_the_wire(app: Flask, worker: Worker, phone: Open, tmp_path: Path) -> None:
    server = Talkative(*rounds())
    with serving(server, tmp_path) as (port, line):
        with app.app_context():
            hostkeys.accept(FIRST, line, "admin")
            db.session.commit()
        page = phone(f"/servers/logins/{begin(app, port)}")
        watch = Watch(page)
        fields = page.locator("#question input:not([type=hidden])")
        for start in range(0, len(PAYLOADS), MAX_QUESTIONS):
            expect(page.locator(".words").first).to_have_text(SPACE.sub(" ", PAYLOADS[start]), timeout=SOON)
            assert fields.count() == len(PAYLOADS[start : start + MAX_QUESTIONS])
            expect(page.locator("#question pre")).to_contain_text("hx-post=/pwned")
            assert watch.done(page.title()) == []
            for number in range(fields.count()):
                fields.nth(number).fill(f"{start + number}")
            with page.expect_navigation():
                page.get_by_role("button", name="Send").click()
        expect(page.locator("#login .state")).to_contain_text("did not let us in as me", timeout=SOON)
        assert watch.done(TITLE.format(port)) == []
    assert [len(answers) for answers in server.answers] == [16, 16, len(PAYLOADS) - 32]


GREETING = "SSH-<script>pwned=1</script><img/src=/pwned><i/hx-get=/pwned>-x"


@contextmanager
def greeting(text: str) -> Iterator[int]:
    """The port of one that greets like this, once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            wire, _ = listener.accept()
            with wire:
                wire.sendall(text.encode() + b"\r\n")
                wire.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)


def test_as_a_server_greets_with_them(app: Flask, worker: Worker, phone: Open) -> None:
    with greeting(GREETING) as port:
        page: Page = phone(f"/servers/logins/{begin(app, port)}")
        watch = Watch(page)
        expect(page.locator("#login .state")).to_contain_text("<img/src=/pwned>", timeout=SOON)
        assert watch.done(TITLE.format(port)) == []
        page.goto("/servers")
        expect(page.locator("main")).to_contain_text("<img/src=/pwned>")
        assert watch.done("Servers") == []

"""A server is added on a page: its host key is compared, what it asks is answered, and its jobs are in the list."""

import base64
import contextlib
import re
import socket
import time
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from cluster.parts import need_network
from cluster.sshd import Account, Sshd
from flask import Flask
from flask.testing import FlaskClient
from web import people
from web.made_once import on_postgresql
from web.syncing import eventually
from werkzeug.test import TestResponse

from remotejobs.errors import LoginRefused
from remotejobs.hostkeys import HostKey as ShownKey
from remotejobs.output import Output
from remotejobs.shell import SSHShell
from remotejobs.target import Target
from remoteweb import connect, hostkeys, logins, signing_in
from remoteweb.access.people import disable
from remoteweb.accounts import FIRST, Audit, HostKey, Session
from remoteweb.accounts import Account as Account_
from remoteweb.database import Base, db
from remoteweb.handover import Listener, folder_of
from remoteweb.kept import KeptConnections
from remoteweb.models import Server, Source
from remoteweb.sync import requests
from remoteweb.sync.worker import Worker
from remoteweb.ways import SYNCING, Login, Question

APP = "remoteJobs-vistrails"


@pytest.fixture
def account(sshd: Sshd) -> Account:
    """One of its own; no key of this home opens it."""
    return sshd.account()


class Phone:
    """What a person does on the page of a login."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.address = ""

    def add(self, server: str, **form: str) -> TestResponse:
        answer = self.client.post("/servers/add", data={"server": server, "app": APP, "keep": "0", **form})
        self.address = answer.location or ""
        return answer

    def sees(self, words: str, seconds: float = 25.0) -> str:
        until = time.monotonic() + seconds
        while words not in (page := self.client.get(self.address).text):
            assert time.monotonic() < until, shown(page)
            time.sleep(0.05)
        return page

    def press(self, verb: str, page: str = "", **form: str) -> TestResponse:
        hidden = dict(re.findall(r'type="hidden" name="([\w-]+)" value="([^"]*)"', page))
        return self.client.post(f"{self.address}/{verb}", data={**hidden, **form}, follow_redirects=True)


def shown(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2]).split())


@pytest.fixture
def phone(client: FlaskClient) -> Phone:
    return Phone(client)


def one(model: Any, app: Flask) -> Any:
    with app.app_context():
        found = db.session.scalars(db.select(model)).one()
        db.session.expunge(found)
        return found


def fingerprint(sshd: Sshd) -> str:
    kind, key = sshd.host_key.split()
    return ShownKey(kind, base64.b64decode(key)).fingerprint


def at(sshd: Sshd, account: Account) -> str:
    return f"{account.user}@{sshd.host}:{sshd.port}"


def test_a_server_is_added_with_a_host_key_and_a_password(
    app: Flask,
    sshd: Sshd,
    account: Account,
    worker: Worker,
    phone: Phone,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sshd.counting() as counted:
        phone.add(at(sshd, account))
        page = phone.sees("Waits for you to compare the host key")
        assert fingerprint(sshd) in page
        with app.app_context():
            assert db.session.scalars(db.select(HostKey)).all() == []
            assert db.session.scalars(db.select(Server)).all() == [], "a try leaves nothing behind"
        phone.press("accept", page)
        page = phone.sees("Waits for your password")
        key = one(HostKey, app)
        assert f"{key.type} {key.key}" == sshd.host_key and key.accepted_by == "admin"
        phone.press("answer", page, **{"answer-0": account.password})
        phone.sees("0 jobs")
    assert (counted.connections, counted.execs) == (2, 1)
    source = one(Source, app)
    assert source.app == APP and source.confirmed_at
    assert one(Server, app).asks
    with app.app_context():
        added = db.session.scalars(db.select(Audit).where(Audit.what == "added a server")).one()
        assert (added.who, added.account_id) == ("admin", FIRST), "its owner finds it in the log"
    page = phone.client.get("/servers").text
    assert "Signed out" in page and ">Sign in<" in page and "Waiting for" not in page
    left = [path.read_bytes() for path in (home / ".local").rglob("*") if path.is_file()]
    assert left or on_postgresql
    with app.app_context(), db.engine.connect() as connection:
        left += [
            str(row).encode()
            for table in Base.metadata.sorted_tables
            for row in connection.execute(table.select())
        ]
    assert not any(account.password.encode() in text for text in left), "what was typed is stored nowhere"
    assert account.password not in caplog.text and account.password not in page


@pytest.fixture
def known(app: Flask, sshd: Sshd) -> None:
    """The host key is accepted already."""
    with app.app_context():
        hostkeys.accept(FIRST, f"[{sshd.host}]:{sshd.port} {sshd.host_key}", "admin")
        db.session.commit()


def let_in(phone: Phone, server: str, password: str, **form: str) -> None:
    phone.add(server, **form)
    phone.press("answer", phone.sees("Waits for your password"), **{"answer-0": password})
    phone.sees("0 jobs")


def test_the_open_connection_is_kept_used_and_closed_by_a_tap(
    app: Flask, sshd: Sshd, account: Account, known: None, worker: Worker, phone: Phone
) -> None:
    let_in(phone, at(sshd, account), account.password, keep="3600")
    server_id = one(Server, app).id
    page = phone.client.get("/servers").text
    assert "Signed in until" in page and "Sign out of it" in page
    with sshd.counting() as counted:
        with app.app_context():
            db.session.execute(db.update(Server).values(min_interval=0))
            db.session.commit()
        synced = one(Source, app).confirmed_at
        phone.client.post("/sync", data={"server": server_id})
        eventually(lambda: one(Source, app).confirmed_at > synced)
    assert (counted.connections, counted.execs) == (0, 1), "the sync asked nobody, and connected nowhere"
    phone.client.post(f"/servers/{server_id}/sign-out")
    eventually(lambda: not worker.kept.has(server_id))
    page = phone.client.get("/servers").text
    assert "Signed in until" not in page and "Signed out" in page
    with app.app_context():
        assert requests.ask(db.session.get_one(Server, server_id)) is None


@pytest.mark.parametrize("end", ["pause", "time", "account", "remove", "stop"])
def test_a_kept_connection_ends_with(
    app: Flask, sshd: Sshd, account: Account, known: None, worker: Worker, phone: Phone, end: str
) -> None:
    let_in(phone, at(sshd, account), account.password, keep="3600")
    source = one(Source, app)
    assert worker.kept.has(source.server_id)
    if end in ("pause", "remove"):
        phone.client.post(f"/sources/{source.id}/{end}")
    elif end == "stop":
        worker.stop()
    else:
        with app.app_context():
            values = {"time": {"kept_until": time.time()}, "account": {"disabled_at": time.time()}}[end]
            db.session.execute(db.update(Account_ if end == "account" else Server).values(**values))
            db.session.commit()
    eventually(lambda: not worker.kept.has(source.server_id))
    if end != "remove":
        eventually(lambda: one(Server, app).kept_until == 0.0)


def test_a_refused_password_ends_the_login_and_nothing_is_tried_again(
    app: Flask, sshd: Sshd, account: Account, known: None, worker: Worker, phone: Phone
) -> None:
    with sshd.counting() as counted:
        phone.add(at(sshd, account))
        phone.press("answer", phone.sees("Waits for your password"), **{"answer-0": "canary-wrong"})
        page = phone.sees(f"did not let us in as {account.user}")
    assert "Try again" in page and "canary-wrong" not in page
    assert (counted.connections, counted.execs) == (1, 0)
    with app.app_context():
        assert [db.session.scalars(db.select(model)).all() for model in (Server, Source)] == [[], []]
    assert "did not let us in" in phone.client.get("/servers").text, "the try stays visible"
    phone.address = phone.press("again").request.path
    phone.press("answer", phone.sees("Waits for your password"), **{"answer-0": account.password})
    phone.sees("0 jobs")
    assert "did not let us in" not in phone.client.get("/servers").text


def test_a_changed_host_key_is_refused_and_another_is_accepted_only_on_purpose(
    app: Flask, sshd: Sshd, account: Account, worker: Worker, phone: Phone
) -> None:
    old = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    with app.app_context():
        hostkeys.accept(FIRST, f"[{sshd.host}]:{sshd.port} ssh-ed25519 {old}", "admin")
        db.session.commit()
    phone.add(at(sshd, account))
    page = phone.sees("HAS CHANGED")
    assert fingerprint(sshd) in page
    phone.press("accept", page)
    assert "Nothing was accepted" in phone.press("accept-besides", page).text
    assert one(HostKey, app).key == old
    phone.press("accept-besides", page, several="1")
    phone.sees("Waits for your password")
    with app.app_context():
        assert len(hostkeys.lines(FIRST)) == 2
        notes = db.session.scalars(db.select(Audit.detail).where(Audit.what == "accepted a host key")).all()
        assert notes == ["besides others of that name"]
    phone.press("give-up")


def test_only_the_key_that_was_shown_is_accepted(
    app: Flask, sshd: Sshd, account: Account, worker: Worker, phone: Phone
) -> None:
    phone.add(at(sshd, account))
    page = phone.sees("compare the host key")
    forged = f"[{sshd.host}]:{sshd.port} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"
    for other in (forged, "", "\0"):
        answer = phone.press("accept", page, line=other)
        assert answer.status_code == 200 and "Nothing was accepted" in answer.text
    with app.app_context():
        assert hostkeys.lines(FIRST) == []
    answer = phone.press("accept-besides", page, several="1")
    assert "Nothing was accepted" in answer.text, (
        "it has not changed, so there is nothing to accept it besides"
    )
    assert "compare the host key" in answer.text


def test_an_accepted_key_is_listed_with_who_and_when_and_taken_back(
    app: Flask, sshd: Sshd, known: None, client: FlaskClient
) -> None:
    page = client.get("/servers/host-keys").text
    assert fingerprint(sshd) in page and f"[{sshd.host}]:{sshd.port}" in page and "Accepted by admin" in page
    key_id = one(HostKey, app).id
    client.post(f"/servers/host-keys/{key_id}/remove")
    assert fingerprint(sshd) not in client.get("/servers/host-keys").text
    assert client.post(f"/servers/host-keys/{key_id}/remove").status_code == 404


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"server": "alps"}, "Write it as user@alps"),
        ({"server": "me@alps:99999"}, "a port is a number from 1 to 65535"),
        ({"server": "me@x; touch PWNED"}, "letters, digits, dots and dashes"),
        ({"server": "me@-oProxyCommand=x"}, "letters, digits, dots and dashes"),
        ({"server": ""}, "is not a server"),
        ({"server": "me@alps", "app": "../etc"}, "cannot be the name of an app"),
        ({"server": "me@alps", "jumps": "me@gate,$(id)"}, "letters, digits, dots and dashes"),
        ({"server": "me@alps", "jumps": ",".join(["me@gate"] * 9)}, "More than 8 jumps"),
        ({"server": "me@alps", "keep": "999999999"}, "not one of the times"),
        ({"server": "me@" + "a" * 5000}, "is not a server"),
    ],
)
def test_what_is_no_server_is_refused_on_the_form(
    app: Flask, phone: Phone, form: dict[str, str], words: str
) -> None:
    answer = phone.add(**form)
    assert answer.status_code == 400 and words in unescape(answer.text)
    with app.app_context():
        assert db.session.scalars(db.select(Login)).all() == []


def test_one_login_at_a_time_for_a_server_and_five_for_a_person(app: Flask, phone: Phone) -> None:
    first = phone.add("me@alps.example.org").location
    assert phone.add("me@ALPS.example.org").location == first, "the one that is under way"
    assert [phone.add(f"me@alps{n}.example.org").status_code for n in range(4)] == [303] * 4
    answer = phone.add("me@one-more.example.org")
    assert answer.status_code == 400 and "5 logins are under way" in answer.text
    phone.address = first
    phone.press("give-up")
    assert phone.add("me@one-more.example.org").status_code == 303


def test_a_login_that_nobody_takes_says_so_and_ends(app: Flask, phone: Phone) -> None:
    phone.add("me@alps.example.org")
    for seconds, words in ((20, "Is it running?"), (700, "No sync worker took it")):
        with app.app_context():
            db.session.execute(db.update(Login).values(changed_at=time.time() - seconds))
            db.session.commit()
        assert words in phone.client.get(phone.address).text


def test_a_worker_that_was_killed_while_it_asked_is_seen_on_the_page(
    app: Flask, sshd: Sshd, account: Account, known: None, worker: Worker, phone: Phone
) -> None:
    phone.add(at(sshd, account))
    page = phone.sees("Waits for your password")
    worker._logins._listener.stop()
    assert "nobody got what you typed" in phone.press("answer", page, **{"answer-0": "canary"}).text
    with app.app_context():
        db.session.execute(db.update(Login).values(holder="elsewhere:1:x", seen_at=time.time() - 60))
        db.session.commit()
    page = phone.client.get(phone.address).text
    assert "gone, so the login has ended" in page and "Waits for" not in page
    phone.address = phone.press("again").request.path
    with app.app_context():
        assert [row.login_id for row in db.session.scalars(db.select(Question))] in (
            [],
            [int(phone.address[-1])],
        )
    phone.press("give-up")


def test_a_poll_gets_nothing_until_something_moves(app: Flask, phone: Phone) -> None:
    phone.add("me@alps.example.org")
    page = phone.client.get(phone.address).text
    watched = unescape(re.search(r'hx-get="([^"]+/watch[^"]+)"', page)[1])  # type: ignore[index]
    htmx = {"HX-Request": "true"}
    assert phone.client.get(watched, headers=htmx).status_code == 204
    phone.press("give-up")
    assert "Given up" in phone.client.get(watched, headers=htmx).text


@pytest.mark.parametrize("role", ["administrator", "user"])
def test_the_keys_of_whoever_runs_the_program_open_the_servers_of_administrators_alone(
    app: Flask, sshd: Sshd, account: Account, home: Path, role: str
) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_bytes(sshd.key.read_bytes())
    person = people.account(app, "ada", role)
    with app.app_context():
        line = f"[{sshd.host}]:{sshd.port} {sshd.host_key}"
        hostkeys.accept(person, line, "ada")
        db.session.commit()
        server = Server(
            owner_id=person, user=account.user, host=sshd.host, port=sshd.port, key_files="[]", way=""
        )
        with contextlib.closing(connect.unattended(server)) as shell:
            if role == "administrator":
                assert shell.run("echo in").stdout.read() == b"in\n"
            else:
                with pytest.raises(LoginRefused, match="did not let us in"):
                    shell.run("echo in")


def test_no_login_has_the_number_of_one_before_it(phone: Phone) -> None:
    phone.add("me@alps.example.org")
    before = phone.address
    phone.press("give-up")
    phone.add("me@alps.example.org")
    assert phone.address != before, "its thread may still run, and would write into this one"


@pytest.fixture
def let_in_by_key(sshd: Sshd, known: None, home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").write_bytes(sshd.key.read_bytes())


@pytest.mark.parametrize("when", ["while it connects", "while it reads"])
def test_what_is_given_up_adds_nothing(
    app: Flask,
    sshd: Sshd,
    account: Account,
    let_in_by_key: None,
    worker: Worker,
    phone: Phone,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []

    class Slow(signing_in.WhileWanted):
        """The person taps while this is on its way."""

        def run(self, *arguments: Any, **options: Any) -> Output:
            if when == "while it reads":
                output = super().run(*arguments, **options)
                phone.press("give-up")
                return output
            phone.press("give-up")
            return super().run(*arguments, **options)

        def close(self) -> None:
            ended.append(when)

    monkeypatch.setattr(signing_in, "WhileWanted", Slow)
    phone.add(at(sshd, account))
    eventually(lambda: bool(ended) and not any(one.is_alive() for one, _ in worker._logins._threads))
    with app.app_context():
        assert [db.session.scalars(db.select(model)).all() for model in (Server, Source)] == [[], []]
    assert "Given up" in phone.client.get(phone.address).text


def test_each_piece_of_an_answer_is_no_write(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    login = signing_in.SigningIn(app, 1, Listener(folder_of(app)), KeptConnections("here:1:x"))
    monkeypatch.setattr(logins, "move", lambda _login, _holder, state: not moved.append(state))
    for _ in range(100):
        login._hear("reading", 0, None)
    assert moved == [SYNCING]


def test_to_add_a_server_again_takes_a_fresh_proof_again(app: Flask) -> None:
    person = people.account(app, "ada", "user")
    phone = Phone(people.browser(app, person))
    phone.add("me@alps.example.org")
    phone.press("give-up")
    before = phone.address
    with app.app_context():
        db.session.execute(db.update(Session).values(proved_at=0.0))
        db.session.commit()
    assert "/proof" in phone.client.post(f"{before}/again").location
    with app.app_context():
        assert [login.state for login in db.session.scalars(db.select(Login))] == ["ended"]
        db.session.execute(db.update(Session).values(proved_at=time.time()))
        db.session.commit()
    assert "/servers/logins/" in phone.client.post(f"{before}/again").location
    with app.app_context():
        notes = db.session.scalars(db.select(Audit.who).where(Audit.what == "asked to add a server"))
        assert list(notes) == ["ada", "ada"]


@pytest.mark.parametrize(
    ("role", "given", "are_used"),
    [("administrator", None, True), ("administrator", (), False), ("user", None, False)],
)
def test_the_keys_of_a_jump_are_files_of_whoever_runs_the_program_too(
    app: Flask, role: str, given: tuple[Path, ...] | None, are_used: bool
) -> None:
    person = people.account(app, "ada", role)
    app.config["SSH_KEYS"] = given
    jump = '{"host": "gate", "port": 22, "user": "me", "key_files": ["/k/mine"], "certificate_files": ["/k/mine-cert.pub"]}'
    with app.app_context():
        server = Server(
            owner_id=person, user="me", host="alps", port=22, key_files="[]", way=f'{{"jumps": [{jump}]}}'
        )
        shell = connect.unattended(server)
        assert isinstance(shell, SSHShell) and isinstance(shell.destination, Target)
        (hop,) = shell.destination.jumps
        assert bool(hop.key_files) == bool(hop.certificate_files) == are_used


def test_logins_that_one_person_began_and_gave_up_keep_nobody_else_waiting(
    app: Flask, worker: Worker, phone: Phone
) -> None:
    need_network()
    with contextlib.ExitStack() as silent:
        ports = [
            silent.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(9)
        ]
        for port in ports[:8]:
            phone.add(f"me@127.0.0.1:{port}")
            if worker._logins._has_room_for(FIRST):
                phone.sees("Connecting")
            phone.press("give-up")
        other = Phone(people.browser(app, people.account(app, "ada")))
        other.add(f"me@127.0.0.1:{ports[8]}")
        other.sees("Connecting", seconds=5.0)


@pytest.mark.parametrize("end", ["give up", "account"])
def test_a_login_that_nobody_wants_any_more_hangs_up(app: Flask, worker: Worker, end: str) -> None:
    """At once, and not when the server or its time is through."""
    need_network()
    ada = people.account(app, "ada")
    phone = Phone(people.browser(app, ada))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        phone.add(f"me@127.0.0.1:{silent.getsockname()[1]}")
        link, _ = silent.accept()
        with link:
            link.settimeout(8)
            assert link.recv(4) == b"SSH-"
            if end == "give up":
                phone.press("give-up")
            else:
                with app.app_context():
                    disable(db.session.get_one(Account_, ada))
            while link.recv(1000):
                pass
    eventually(lambda: not worker._logins._under_way)
    with app.app_context():
        assert [login.sentence for login in db.session.scalars(db.select(Login))] == ["Given up."]
        assert db.session.scalars(db.select(Server)).all() == []


@pytest.mark.parametrize("waits_for", ["the server", "the person"])
def test_a_login_under_way_ends_with_its_worker_and_its_page_says_so(
    app: Flask, sshd: Sshd, account: Account, worker: Worker, phone: Phone, known: None, waits_for: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if waits_for == "the server":
            phone.add(f"me@127.0.0.1:{silent.getsockname()[1]}")
            phone.sees("Connecting")
        else:
            phone.add(at(sshd, account))
            phone.sees("Waits for your password")
        threads = [thread for thread, _ in worker._logins._threads]
        worker.stop()
        assert threads and not any(thread.is_alive() for thread in threads)
        assert "The sync worker that carried it out is gone" in phone.client.get(phone.address).text
    with app.app_context():
        assert db.session.scalars(db.select(Question)).all() == []

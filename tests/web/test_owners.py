"""Each account sees its own servers and jobs, and nothing tells it of another's. A guest only looks."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from web import rows
from web.people import account, browser, working_for
from web.terminals import run

from remoteweb import actions, sources
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db
from remoteweb.models import Action, Counter, Job, Server, SyncRun
from remoteweb.sources import NotYourMachine
from remoteweb.viewer import TERMINAL, become

POLL = {"HX-Request": "true", "HX-Request-Type": "partial"}
HERS = "adas-canary"


class Two(NamedTuple):
    """The first account and ada, each with one job on the same login; and a guest of the first."""

    app: Flask
    ours: int
    hers: int
    our_server: int
    her_server: int
    her_source: int
    ada: FlaskClient
    guest: FlaskClient


@pytest.fixture
def two(app: Flask) -> Two:
    ada_id = account(app, "ada")
    guest_id = account(app, "grace", "guest", guest_of=1)
    with app.app_context():
        ours = rows.job(rows.source(rows.server()), "our-job")
        server = rows.server(owner_id=ada_id, error=f"{HERS} does not answer.")
        source = rows.source(server, f"{HERS}-app")
        hers = rows.job(source, f"{HERS}-job")
        actions.ask(hers, "cancel", "key-of-ada", hers.revision)
        return Two(
            app,
            ours.id,
            hers.id,
            ours.server_id,
            server.id,
            source.id,
            browser(app, ada_id),
            browser(app, guest_id),
        )


def everything(two: Two, client: FlaskClient) -> Iterator[tuple[str, str]]:
    """Every page that shows jobs, servers or what was done, and the parts of them."""
    pages = ("/", "/?q=canary", "/?q=ad", "/?view=running", "/servers", "/audit", "/sync")
    of_others = (f"/?server={two.her_server}", f"/jobs/{two.hers}", f"/jobs/{two.hers}/changes")
    for path in (*pages, *of_others, "/changes?q=canary"):
        for headers in ({}, {**POLL, "HX-PTag": "0.0"}):
            answer = client.get(path, headers=headers)
            assert answer.status_code in (200, 303, 304, 404), path
            yield path, answer.text + str(answer.headers)


def test_no_page_tells_of_another_accounts_things(two: Two) -> None:
    nobody = browser(two.app, account(two.app, "bob"))
    for looking in (nobody, two.guest):
        assert [path for path, text in everything(two, looking) if HERS in text] == []
    assert [path for path, text in everything(two, two.ada) if "our-job" in text] == []
    assert HERS in two.ada.get("/").text and "our-job" in two.guest.get("/").text


def test_an_administrator_sees_what_was_done_and_not_the_jobs(two: Two, client: FlaskClient) -> None:
    seen = {path for path, text in everything(two, client) if HERS in text}
    assert seen == {"/audit"}


def test_what_belongs_to_another_is_as_what_does_not_exist(two: Two, client: FlaskClient) -> None:
    for path in ("/jobs/{}", "/jobs/{}/changes"):
        there, nowhere = (client.get(path.format(job)) for job in (two.hers, 999_999))
        assert (there.status_code, there.text) == (404, nowhere.text)


def test_another_accounts_change_wakes_no_page(two: Two, client: FlaskClient) -> None:
    known = client.get("/changes", headers=POLL).headers["HX-PTag"]
    with two.app.app_context():
        job = db.session.get_one(Job, two.hers)
        rows.change(job, state="done")
        actions.ask(job, "resubmit", "another-key", job.revision)
    for path in ("/changes?every=5", f"/jobs/{two.ours}/changes"):
        answer = client.get(path, headers={**POLL, "HX-PTag": known})
        assert (answer.status_code, answer.data, answer.headers["HX-PTag"]) == (304, b"", known)
    with two.app.app_context():
        sources.set_paused(two.her_source, True)  # not ours: nothing happens
        become(TERMINAL)
    with working_for(two.app, 2):
        assert sources.forget(two.her_source)
    assert client.get("/changes", headers={**POLL, "HX-PTag": known}).status_code == 304


def test_the_same_login_of_two_accounts_is_two_servers_and_no_namesakes(two: Two) -> None:
    with two.app.app_context():
        assert [server.label for server in db.session.scalars(db.select(Server))] == ["alps", "alps"]


def test_asking_for_all_asks_for_ones_own(two: Two, client: FlaskClient) -> None:
    assert client.post("/sync").status_code == 303
    with two.app.app_context():
        asked = db.session.scalars(db.select(SyncRun.server_id).where(SyncRun.state == "waiting"))
        assert list(asked) == [two.our_server]


def test_a_key_of_another_accounts_button_finds_nothing(two: Two, client: FlaskClient) -> None:
    answer = client.post(
        f"/jobs/{two.ours}/cancel", data={"idem_key": "key-of-ada", "seen": "1"}, headers=POLL
    )
    assert HERS not in answer.text
    assert answer.status_code == 404
    with two.app.app_context():
        assert db.session.scalars(db.select(Action.job_id)).all() == [two.hers]


def test_this_machine_is_the_first_accounts_alone(two: Two, client: FlaskClient) -> None:
    assert "Submit the example" not in browser(two.app, account(two.app, "bob")).get("/").text
    assert two.ada.post("/example", data={"idem_key": "x" * 12}).status_code == 403
    with working_for(two.app, 2), pytest.raises(NotYourMachine):
        sources.source_here()
    with two.app.app_context():
        begin_writing()
        db.session.add(Server(owner_id=2, user="", host="", port=0))
        with pytest.raises(IntegrityError):
            db.session.flush()
        db.session.rollback()
    assert client.post("/example", data={"idem_key": "x" * 12}).status_code == 303


CHANGING = (
    "/jobs/{ours}/cancel",
    "/jobs/{ours}/resubmit",
    "/sync",
    "/example",
    "/sources/1/pause",
    "/sources/1/resume",
    "/sources/1/remove",
    "/actions/{uuid}/undo",
    "/actions/{uuid}/send",
)


def test_a_guest_only_looks(two: Two) -> None:
    with two.app.app_context():
        job = db.session.get_one(Job, two.ours)
        uuid = actions.ask(job, "cancel", "key-of-ours", job.revision).uuid
        before = [db.session.scalar(db.select(db.func.count()).select_from(one)) for one in (Action, SyncRun)]
    for path in CHANGING:
        form = {"idem_key": "x" * 12, "seen": "1"}
        answer = two.guest.post(path.format(ours=two.ours, uuid=uuid), data=form)
        assert (answer.status_code, "Guests only look" in answer.text) == (403, True), path
    with two.app.app_context():
        after = [db.session.scalar(db.select(db.func.count()).select_from(one)) for one in (Action, SyncRun)]
        assert after == before
        assert db.session.scalars(db.select(Action.state).where(Action.uuid == uuid)).one() == "waiting"


def test_a_guest_is_shown_no_button_no_script_and_no_command(two: Two, client: FlaskClient) -> None:
    secret = {
        "command": "./run --token canary",
        "script": "#!/bin/sh\ncanary",
        "environment": {"KEY": "canary"},
        "options": {"cores": 4, "extra": ["--export=ALL,TOKEN=canary"]},
    }
    with two.app.app_context():
        rows.change(db.session.get_one(Job, two.ours), settings=json.dumps(secret), state="failed")
    page = f"/jobs/{two.ours}"
    assert client.get(page).text.count("canary") >= 4
    for path in ("/", page, "/servers", f"{page}/changes"):
        for headers in ({}, POLL):
            text = two.guest.get(path, headers=headers).text
            assert "canary" not in text, path
            assert not re.search(r'method="post"|hx-post', text), path
            assert "our-job" in text or path == "/servers" or (path == page and headers), path


def test_a_guest_of_another_sees_that_ones_jobs(two: Two) -> None:
    guest = browser(two.app, account(two.app, "gustav", "guest", guest_of=2))
    assert HERS in guest.get("/").text and "our-job" not in guest.get("/").text


@pytest.mark.parametrize("common", [True, False])
def test_a_search_finds_ones_own_however_much_others_have_of_the_word(app: Flask, common: bool) -> None:
    ada_id = account(app, "ada")
    with app.app_context():
        theirs = rows.source(rows.server())
        begin_writing()
        db.session.add_all([rows.unsaved(theirs, f"train-{i}", "done") for i in range(700)])
        db.session.commit()
        mine = rows.source(rows.server(owner_id=ada_id))
        rows.job(mine, "train-mine", "done")
        rows.job(mine, "ebb", "done")
    ada = browser(app, ada_id)
    text = ada.get("/?q=train" if common else "/?q=tr").text
    assert re.findall(r'class="name" id="n\d+">([^<]+)<', text) == ["train-mine"]
    assert 'class="n3">1<' in text  # counted, and not "too many to count"


SIZES = [
    "/",
    "/?view=ended",
    "/?q=train",
    "/?q=tr",
    "/?q=train-mine-1",
    "/?server={server}",
    "/servers",
    "/changes",
]


@pytest.mark.sqlite
def test_a_page_costs_as_much_whatever_others_have(app: Flask) -> None:
    """In steps of SQLite's own machine, which no load of this one changes."""
    ada_id = account(app, "ada")
    with app.app_context():
        mine = rows.source(rows.server(owner_id=ada_id))
        server = mine.server_id
        for i in range(12):
            rows.job(mine, f"train-mine-{i}", "done" if i % 3 else "running")
    ada = browser(app, ada_id)
    alone = {address: _steps(app, ada, address.format(server=server)) for address in SIZES}
    with app.app_context():
        theirs = rows.source(rows.server())
        begin_writing()
        made = [
            rows.unsaved(theirs, f"train-{i}", "done" if i % 9 else "running", change=i) for i in range(4000)
        ]
        db.session.add_all(made)
        asked = [
            Action(
                uuid=f"u{i}",
                idem_key=f"k{i}",
                source_id=theirs.id,
                kind="submit",
                asked_at=1.0,
                not_before=1.0,
            )
            for i in range(1000)
        ]
        db.session.add_all(asked)
        db.session.commit()
    beside = {address: _steps(app, ada, address.format(server=server)) for address in SIZES}
    assert [address for address in SIZES if beside[address] >= 1.3 * alone[address] + 2000] == [], (
        alone,
        beside,
    )


def _steps(app: Flask, client: FlaskClient, address: str) -> int:
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 100

    def watch(connection: object, *_: object) -> None:
        connection.set_progress_handler(count, 100)  # type: ignore[attr-defined]

    with app.app_context():
        engine = db.engine
    client.get(address)
    event.listen(engine, "checkout", watch)
    answer = client.get(address, headers={**POLL, "HX-PTag": "0.0"})
    event.remove(engine, "checkout", watch)
    assert answer.status_code == 200
    return counted


def test_the_commands_work_for_the_account_that_is_named(two: Two) -> None:
    with two.app.app_context():
        db.session.remove()
    assert HERS not in run("jobs").stdout and "our-job" in run("jobs").stdout
    hers = run("jobs", "--owner", "Ada").stdout
    assert HERS in hers and "our-job" not in hers
    assert HERS in run("sources", "--owner", "ada").stdout and HERS not in run("sources").stdout
    missed = run("forget-source", f"{HERS}-app", "me@alps.example.org")
    assert missed.returncode == 1 and "is not known here" in missed.stderr
    done = run("forget-source", f"{HERS}-app", "me@alps.example.org", "--owner", "ada")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("owner", "sentence"), [("nobody", "no account called nobody"), ("grace", "is a guest")]
)
def test_a_command_is_not_done_for_who_owns_nothing(two: Two, owner: str, sentence: str) -> None:
    done = run("update-database", "--owner", owner)
    assert done.returncode == 1 and sentence in done.stderr


def test_a_command_for_another_account_never_means_this_machine(two: Two) -> None:
    done = run("update-database", "apps", "--owner", "ada")
    assert done.returncode == 1 and "belongs to the administrator" in done.stderr
    with two.app.app_context():
        assert db.session.scalars(db.select(Server.id).where(Server.host == "")).all() == []


def test_an_accounts_counters_begin_with_its_first_change(app: Flask) -> None:
    ada_id = account(app, "ada")
    assert browser(app, ada_id).get("/changes", headers=POLL).headers["HX-PTag"] == "0.0"
    with app.app_context():
        rows.job(rows.source(rows.server(owner_id=ada_id)), "a-job")
        names = set(db.session.scalars(db.select(Counter.name)))
    assert names == {"change.1", "afresh.1", "audit", f"change.{ada_id}"}


def test_what_was_asked_for_stands_in_the_audit_log_with_who_asked(two: Two) -> None:
    job = f"/jobs/{two.hers}"
    with two.app.app_context():
        db.session.get_one(Account, 2)
        uuid = db.session.scalars(db.select(Action.uuid)).one()
    two.ada.post(f"/actions/{uuid}/undo")
    two.ada.post(f"{job}/cancel", data={"idem_key": "x" * 12, "seen": "1"})
    with two.app.app_context():
        uuid = db.session.scalars(db.select(Action.uuid).where(Action.state == "waiting")).one()
    two.ada.post(f"/actions/{uuid}/send")
    two.ada.post("/sync")
    two.ada.post(f"/sources/{two.her_source}/pause")
    two.ada.post(f"/sources/{two.her_source}/resume")
    two.ada.post(f"/sources/{two.her_source}/remove")
    text = two.ada.get("/audit").text
    for did in (
        "took back",
        "asked to cancel",
        "asked to send now",
        "asked for a sync of",
        "paused",
        "resumed",
    ):
        assert f"ada {did} " in text
    assert "ada removed the source" in text and "from 127.0.0.1" in text

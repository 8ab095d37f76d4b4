"""A server that is reached by a narrow key: syncs work as ever, and the pages say what cannot be had."""

from collections.abc import Iterator

import pytest
from cluster.sshd import Sshd
from flask import Flask
from flask.testing import FlaskClient
from library.narrow import Narrow, narrow_account
from library.registries import Folder, key_of
from web.syncing import APP, again, ask, job

from remotejobs import gate
from remotejobs.settings import create
from remoteweb import actions, changes, cleaning, collector, sources
from remoteweb.database import db
from remoteweb.syncs import SyncResult

pytestmark = pytest.mark.sqlite  # of the way to a server, whatever the database


@pytest.fixture(scope="module")
def narrow(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    yield from narrow_account(sshd, tmp_path_factory.mktemp("keys"))


def sync(narrow: Narrow, with_all: bool = False) -> SyncResult:
    at = sources.known(narrow.account.user, narrow.sshd.host, narrow.sshd.port)
    assert at
    shell = narrow.full if with_all else narrow.shell
    return collector.collect(at, lambda _: shell, apps=[APP], ignore_interval=True)


def submitted(narrow: Narrow) -> str:
    jobs = narrow.machine().submitter()
    return str(
        jobs.submit_job(jobs.create_settings(None, None, "sleep", ["60"], scheduler="process"))["jobid"]
    )


def test_a_sync_is_one_command_and_cleans_nothing_and_the_pages_say_so(
    app: Flask, narrow: Narrow, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "ENOUGH", 2)
    folder = Folder.make(narrow.account.home)
    for number in (1, 2, 3):
        folder.ended(key_of(number), 40.0)
    folder.owned_by(narrow.account.user)
    with app.app_context():
        sources.server(narrow.account.user, narrow.sshd.host, narrow.sshd.port)
        sync(narrow)
        told = changes.tag()
        with narrow.sshd.counting() as counted:
            sync(narrow)
        assert (counted.connections, counted.execs) == (1, 1)
        assert changes.tag() == told, "a steady sync moves no page"
        row = job(key_of(1))
        assert row.server.narrow == gate.build()
        page = f"/jobs/{row.id}"
    assert (
        "By a narrow key" in client.get("/servers").text
        and "another version" not in client.get("/servers").text
    )
    assert "is reached by a narrow key" in client.get(page).text
    assert len(list((folder.path / "settings").iterdir())) == 3, "nothing is cleaned with such a key"

    with app.app_context():
        row = job(key_of(1))
        row.server.narrow = "1-older"
        db.session.commit()
    assert "of another version than this one" in client.get("/servers").text

    with app.app_context():
        sync(narrow, with_all=True)
        assert job(key_of(1)).server.narrow == ""
        sync(narrow, with_all=True)
    assert "narrow key" not in client.get("/servers").text + client.get(page).text
    assert not list((folder.path / "settings").iterdir()), "with another login it is cleaned"


def test_taps_are_carried_out_and_what_the_key_is_not_for_is_refused_in_a_sentence(
    app: Flask, narrow: Narrow
) -> None:
    key = submitted(narrow)
    with app.app_context():
        sources.server(narrow.account.user, narrow.sshd.host, narrow.sshd.port)
        sync(narrow)
        cancel = ask(job(key), "cancel", "one")
        sync(narrow)
        assert again(cancel).state == "done" and job(key).state == "cancelled"
        settings = create(None, None, "touch", ["canary"], "", "", {}, scheduler="process")
        other = actions.ask_submission(job(key).source, settings, "two")
        more = ask(job(key), "resubmit", "three")
        more.values = '{"walltime": 60}'
        db.session.commit()
        sync(narrow)
        other, more = again(other), again(more)
        assert other.state == "refused" and "by a narrow key" in other.outcome
        assert more.state == "refused" and "cannot have another walltime" in more.outcome
        once = ask(job(key), "resubmit", "four")
        sync(narrow)
        assert again(once).state == "done"
        stop = ask(job(once.new_key), "cancel", "five")
        sync(narrow)
        assert again(stop).state == "done"
    assert not list(narrow.account.home.rglob("canary"))

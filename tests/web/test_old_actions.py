"""What can no longer be settled, on the pages: said as that, and never guessed."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.syncing import APP, again, ask, job, submit, sync, wait_for

from remotejobs import RemoteJobSubmitter
from remotejobs.errors import TimedOut
from remotejobs.shell import LocalShell
from remoteweb import actions, sources
from remoteweb.database import db
from remoteweb.models import Action

WEEK = 7 * 86400.0
NOT_KNOWN = "It is not known whether it was sent"


class Unanswered(LocalShell):
    """The server does it, and its answer never comes."""

    def run(self, *arguments: object, **options: object) -> None:  # type: ignore[override]
        super().run(*arguments, **options).close()  # type: ignore[arg-type]
        raise TimedOut("It did not answer.")


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def failed_job() -> str:
    key = submit("exit 3")
    wait_for(key, "failed")
    return key


def unanswered() -> None:
    with pytest.raises(TimedOut):
        sync(through=lambda _: Unanswered())


def runs_of(key: str) -> list[str]:
    """On the server: of this work, by their run folders."""
    folders = (Path.home() / f".{APP}" / "runs").glob(f"{key[:-2]}_*")
    return sorted(folder.name for folder in folders)


def pages(client: FlaskClient, key: str) -> list[str]:
    return [client.get("/").text, client.get(f"/jobs/{job(key).id}").text]


@pytest.mark.parametrize("kind", ["resubmit", "cancel"])
def test_what_no_answer_told_of_for_a_week_is_not_known_and_says_so(client: FlaskClient, kind: str) -> None:
    key = failed_job() if kind == "resubmit" else submit("sleep 30")
    sync()
    action = ask(job(key), kind)
    unanswered()
    again(action).asked_at -= WEEK + 60
    db.session.commit()
    before = runs_of(key)
    sync()
    assert again(action).state == "gave_up"
    assert all(NOT_KNOWN in page for page in pages(client, key))
    assert runs_of(key) == before, "nothing was tried any more"


def test_a_submission_that_no_answer_told_of_for_a_week_is_not_known_and_says_so(client: FlaskClient) -> None:
    failed_job()
    source = sources.find_here(APP)
    assert source
    values = RemoteJobSubmitter(APP).create_settings(None, None, "sh", ["-c", "exit 0"], scheduler="process")
    action = actions.ask_submission(source, values, "button-1")
    unanswered()
    again(action).asked_at -= WEEK + 60
    db.session.commit()
    sync()
    assert NOT_KNOWN in client.get("/").text


@pytest.mark.parametrize(("is_kept", "state"), [(True, "done"), (False, "gave_up")])
def test_a_server_whose_clock_says_too_old_tells_what_it_kept_of_an_earlier_try_and_is_else_no_witness(
    client: FlaskClient, home: Path, is_kept: bool, state: str
) -> None:
    key = failed_job()
    action = ask(job(key), "resubmit")
    unanswered()
    if not is_kept:
        shutil.rmtree(home / f".{APP}" / "actions" / action.uuid)
    # By our clock it is not that old yet, by the server's it is.
    again(action).asked_at -= WEEK - 60
    server = sources.this_machine()
    server.skew = -120.0
    db.session.commit()
    sync()
    assert again(action).state == state
    assert all(NOT_KNOWN in page for page in pages(client, key)) is not is_kept
    assert len(runs_of(key)) == 2


@pytest.mark.sqlite  # it copies the file
def test_a_restored_database_repeats_no_tap_of_last_week_and_claims_nothing_of_it(
    app: Flask, client: FlaskClient, tmp_path: Path
) -> None:
    key = failed_job()
    action = ask(job(key), "resubmit")
    action.asked_at -= WEEK + 60
    db.session.commit()
    file = Path(str(db.engine.url.database))
    db.session.execute(db.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    db.session.rollback()
    shutil.copy(file, tmp_path / "copy")
    again(action).asked_at = time.time()
    db.session.commit()
    sync()
    assert again(action).state == "done" and len(runs_of(key)) == 2
    restore(file, tmp_path / "copy")
    sync()
    assert db.session.scalars(db.select(Action.state)).all() == ["gave_up"]
    shown = pages(client, key)
    assert all("nothing here says that it was ever begun" in page for page in shown)
    assert len(runs_of(key)) == 2
    assert job(f"{key[:-1]}2").state, "what it had done is seen in the records"


def restore(file: Path, copy: Path) -> None:
    db.session.remove()
    db.engine.dispose()
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    shutil.copy(copy, file)

"""The small commands."""

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flask import Flask
from web.syncing import APP, submit, sync
from web.terminals import ROOT, begin, environment, interrupt, run

from remotejobs.records import JobState
from remoteweb import sources
from remoteweb.database import db
from remoteweb.models import Server, Source
from remoteweb.paths import state_folder


@pytest.fixture
def synced(app: Flask) -> Flask:
    with app.app_context():
        submit("exit 3", name="fails \x1b[2J")
        submit("sleep 0.1; exit 3", name="other")
        sync()
    return app


@pytest.mark.parametrize(
    "command",
    ["update-database", "forget-source", "sources", "jobs", "link", "serve", "sync-worker", "audit"],
)
def test_every_command_has_help(app: Flask, command: str) -> None:
    answer = app.test_cli_runner().invoke(args=[command, "--help"])
    assert answer.exit_code == 0 and len(answer.output.splitlines()[2].strip()) > 20


@pytest.mark.usefixtures("empty_database")
def test_remoteweb_is_the_same_group_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("raise SystemExit('another program')")
    (tmp_path / ".env").write_text("REMOTEWEB_SECRET_KEY=short")
    ended = run("sources", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr.startswith("No source is known yet: ") and ended.stderr.count("\n") == 1


def test_it_says_its_version() -> None:
    from remoteweb.version import __version__

    assert run("--version").stdout == f"remoteweb {__version__}\n"


def test_what_was_imported_is_not_looked_through_for_garbage() -> None:
    """Not at the end either, where that was a third of a short command."""
    code = (
        "import atexit, gc, sys; from remoteweb.cli import main; sys.argv = ['remoteweb', '--version'];"
        "atexit.register(lambda: print(len(gc.get_objects()) < gc.get_freeze_count() / 10)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "True", done.stderr


def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_SERVER_INTERVALL", "5")
    ended = run("sources")
    assert ended.returncode == 1 and "Did you mean REMOTEWEB_SERVER_INTERVAL?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sources_lists_what_is_known_and_how_old_it_is(synced: Flask) -> None:
    assert re.fullmatch(rf"{APP}  this machine  confirmed \d+ s ago\n", run("sources").stdout)
    (row,) = json.loads(run("sources", "--json").stdout)
    assert (row["app"], row["server"], row["state"]) == (APP, "this machine", "ok")


@pytest.mark.parametrize(
    ("server", "source", "told"),
    [
        ({}, {"confirmed_at": None}, "never confirmed"),
        ({}, {"paused": True}, "paused, confirmed 2 min ago"),
        ({"needs_person": "No key fits."}, {}, "confirmed 2 min ago, in trouble: No key fits."),
        (
            {"error": "Not\x1breached."},
            {"paused": True},
            "paused, confirmed 2 min ago, in trouble: Not reached.",
        ),
        ({}, {"error": "Newer folder."}, "confirmed 2 min ago, in trouble: Newer folder."),
    ],
)
def test_sources_says_what_is_wrong(
    app: Flask, server: dict[str, object], source: dict[str, object], told: str
) -> None:
    with app.app_context():
        at = sources.server("me", "alps.example.org", 22, alias="alps")
        at.sources.append(Source(app=APP, **{"confirmed_at": time.time() - 150, **source}))
        for name, value in server.items():
            setattr(at, name, value)
        db.session.commit()
    shown = app.test_cli_runner().invoke(args=["sources"]).stdout
    assert shown == f"{APP}  alps (me@alps.example.org:22)  {told}\n"


def test_jobs_lists_them_without_what_a_terminal_would_obey(synced: Flask) -> None:
    answer = synced.test_cli_runner().invoke(args=["jobs"])
    assert answer.exit_code == 0 and "\x1b" not in answer.output
    assert "fails \ufffd[2J" in answer.output
    rows = json.loads(synced.test_cli_runner().invoke(args=["jobs", "--json", "--limit", "1"]).output)
    assert len(rows) == 1


def test_jobs_says_of_each_who_says_so_and_how_long_ago(synced: Flask) -> None:
    for shown in synced.test_cli_runner().invoke(args=["jobs"]).stdout.splitlines():
        assert re.search(
            r"  this machine  \((its own note|queue|by inference|your request), \d+ s ago\)$", shown
        )


def test_a_list_without_jobs_says_why(app: Flask, synced: Flask) -> None:
    held = synced.test_cli_runner().invoke(args=["jobs", "--state", "held"])
    assert (held.exit_code, held.stdout, held.stderr) == (0, "", "No job is held.\n")
    assert run("forget-source", APP).returncode == 0
    none = run("jobs")
    assert (none.returncode, none.stdout) == (0, "")
    assert "No source is known yet" in none.stderr
    assert run("jobs", "--json").stdout == "[]\n"
    with app.app_context():
        sources.source_here()
    assert "No job is known yet: `remoteweb update-database`" in run("jobs").stderr


def test_a_state_that_there_is_not_is_wrong_usage() -> None:
    ended = run("jobs", "--state", "banana")
    assert ended.returncode == 2 and "banana" in ended.stderr
    assert all(state in ended.stderr for state in JobState)


def test_forgetting_a_source_removes_it_here_only(synced: Flask, home: Path) -> None:
    answer = run("forget-source", APP)
    assert (
        answer.stdout == f"{APP} on this machine is forgotten here. On the server, everything is as it was.\n"
    )
    assert list((home / f".{APP}" / "settings").iterdir())
    again = run("forget-source", APP)
    assert again.returncode == 1 and "is not known here" in again.stderr


def test_forgetting_the_last_source_of_a_server_forgets_the_server(app: Flask) -> None:
    with app.app_context():
        server = sources.server("me", "alps.example.org", 2222, alias="alps")
        server.sources.append(Source(app=APP))
        db.session.commit()
    assert run("forget-source", APP, "me@alps.example.org").returncode == 1, "that is another port"
    assert run("forget-source", APP, "alps").returncode == 0
    with app.app_context():
        assert db.session.scalar(db.select(Server.id)) is None


@pytest.mark.parametrize("server", ["alps;x", "[::1", "alps:0"])
def test_forgetting_with_a_wrong_server_is_wrong_usage(server: str) -> None:
    ended = run("forget-source", APP, server)
    assert ended.returncode == 2 and "is not a server" in ended.stderr


READING = [["sources"], ["jobs"], ["forget-source", APP], ["update-database"]]


@pytest.mark.sqlite
@pytest.mark.parametrize("command", [*READING, ["link"], ["serve"], ["sync-worker"]])
def test_a_file_that_is_no_database_is_a_sentence(home: Path, command: list[str]) -> None:
    file = state_folder() / "remoteweb.sqlite"
    file.write_bytes(b"this is no database" * 1000)
    file.chmod(0o600)
    ended = run(*command)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr == f"Error: The database {file} cannot be used: file is not a database.\n"


@pytest.mark.parametrize("command", READING)
def test_a_database_that_lacks_a_column_is_a_sentence(app: Flask, command: list[str]) -> None:
    with app.app_context():
        sources.source_here()
        db.session.execute(db.text("ALTER TABLE source RENAME COLUMN app TO formerly"))
        db.session.execute(db.text("ALTER TABLE job RENAME COLUMN state TO formerly"))
        db.session.commit()
    ended = app.test_cli_runner().invoke(args=command)
    assert ended.exit_code == 1 and ended.stdout == ""
    assert re.fullmatch(r"Error: The database \S+ cannot be used: .+\n", ended.stderr)


@pytest.mark.sqlite
def test_a_database_that_is_locked_is_a_sentence(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remoteweb.database.LOCK_SECONDS", 1)  # of who connects from now on
    with app.app_context():
        db.engine.dispose()
        other = sqlite3.connect(str(db.engine.url.database), isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN IMMEDIATE")
        ended = app.test_cli_runner().invoke(args=["link"])
    assert ended.exit_code == 1 and ended.stderr.endswith("cannot be used: database is locked.\n")


def test_link_prints_one_that_lets_in(app: Flask) -> None:
    link = run("link", "--port", "8001").stdout.strip()
    assert link.startswith("http://localhost:8001/enter/")
    browser = app.test_client()
    assert browser.get(link).status_code == 303
    assert browser.get("/servers", base_url="http://localhost:8001").status_code == 200


def test_the_sync_worker_ends_by_a_signal_in_order() -> None:
    worker = begin("sync-worker")
    assert worker.stderr
    assert "The sync worker runs." in worker.stderr.readline()
    code, out, err = interrupt(worker)
    assert (code, out, err) == (0, "", "")


def test_a_local_sync_loads_neither_ssh_nor_migrations(app: Flask) -> None:
    """What SSH needs takes half a second to load: only a sync of a server loads it; and a database that is made needs no more."""
    code = (
        "import sys; from remoteweb import create_app; app = create_app(); "
        "answer = app.test_cli_runner().invoke(args=['update-database']); "
        "print(answer.output, *sys.modules, sep='\\n'); "
        "sys.exit(answer.exit_code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {"fabric", "paramiko", "alembic", "flask_alembic"}.isdisjoint(ended.stdout.split())
    assert "sqlalchemy" in ended.stdout.split()

"""The small commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from web.syncing import APP, submit, sync
from web.terminals import ROOT, begin, environment, interrupt, run

from remoteweb import sources


@pytest.fixture
def synced(app: Flask) -> Flask:
    with app.app_context():
        submit("exit 3", name="fails \x1b[2J")
        submit("sleep 0.1; exit 3", name="other")
        sync()
    return app


@pytest.mark.parametrize(
    "command",
    ["update-database", "forget-source", "sources", "jobs", "link", "serve", "sync-worker"],
)
def test_every_command_has_help(app: Flask, command: str) -> None:
    answer = app.test_cli_runner().invoke(args=[command, "--help"])
    assert answer.exit_code == 0 and len(answer.output.splitlines()[2].strip()) > 20


def test_remoteweb_is_the_same_group_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("raise SystemExit('another program')")
    (tmp_path / ".env").write_text("REMOTEWEB_SECRET_KEY=short")
    ended = run("sources", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "No source is known yet" in ended.stdout


def test_it_says_its_version() -> None:
    from remoteweb.version import __version__

    assert run("--version").stdout == f"remoteweb {__version__}\n"


def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_SERVER_INTERVALL", "5")
    ended = run("sources")
    assert ended.returncode == 1 and "Did you mean REMOTEWEB_SERVER_INTERVAL?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sources_lists_what_is_known(synced: Flask) -> None:
    assert run("sources").stdout == f"{APP}  this machine  ok\n"
    (row,) = json.loads(run("sources", "--json").stdout)
    assert (row["app"], row["server"], row["state"]) == (APP, "this machine", "ok")


def test_jobs_lists_them_without_what_a_terminal_would_obey(synced: Flask) -> None:
    answer = synced.test_cli_runner().invoke(args=["jobs"])
    assert answer.exit_code == 0 and "\x1b" not in answer.output
    assert "fails \ufffd[2J" in answer.output
    rows = json.loads(synced.test_cli_runner().invoke(args=["jobs", "--json", "--limit", "1"]).output)
    assert len(rows) == 1
    assert synced.test_cli_runner().invoke(args=["jobs", "--state", "held"]).output == ""


def test_forgetting_a_source_removes_it_here_only(synced: Flask, home: Path) -> None:
    answer = run("forget-source", APP)
    assert (
        answer.stdout == f"{APP} on this machine is forgotten here. On the server, everything is as it was.\n"
    )
    assert list((home / f".{APP}" / "settings").iterdir())
    again = run("forget-source", APP)
    assert again.returncode == 1 and "is not known here" in again.stderr


def test_forgetting_the_last_source_of_a_server_forgets_the_server(app: Flask) -> None:
    from remoteweb.database import db
    from remoteweb.models import Server, Source

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


def test_a_local_sync_loads_no_ssh(app: Flask) -> None:
    """What SSH needs takes half a second to load: only a sync of a server loads it."""
    code = (
        "import sys; from remoteweb import create_app; from remoteweb.upgrade import upgrade_database; "
        "app = create_app(); answer = app.test_cli_runner().invoke(args=['update-database']); "
        'sys.exit(f\'{answer.output} {sys.modules.keys() & {"fabric", "paramiko"}}\' '
        "if answer.exit_code or 'fabric' in sys.modules or 'paramiko' in sys.modules else 0)"
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
    assert ended.returncode == 0, ended.stderr

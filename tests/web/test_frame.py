"""What holds for every page and every start: settings, the secret, headers, the addresses of our own files."""

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web.terminals import begin, interrupt, run

from remoteweb import access, assets, config, create_app
from remoteweb.config import WrongSetting
from remoteweb.database import begin_writing, db, shown
from remoteweb.headers import CONTENT_SECURITY_POLICY
from remoteweb.models import Counter
from remoteweb.secret import secret_key

FINE: dict[str, tuple[str, object]] = {
    "SECRET_KEY": ("1234567890" * 4, "1234567890" * 4),
    "SECRET_KEY_FALLBACKS": (f"{'1' * 32}, {'b' * 40}", ("1" * 32, "b" * 40)),
    "SYNC_NOW": ("off", False),
    "AUDIT_TO_LOG": ("on", True),
    "REQUIRE_SECOND_FACTOR": ("on", True),
    "LOCAL_INTERVAL": ("7.5", 7.5),
    "SERVER_INTERVAL": ("300", 300.0),
    "MIN_INTERVAL": ("30", 30.0),
    "CLEAN_DAYS": ("14", 14.0),
    "SESSION_IDLE_DAYS": ("7", 7.0),
    "SESSION_DAYS": ("30", 30.0),
    "TRASH_DAYS": ("90", 90.0),
    "ALLOWED_HOSTS": ("Jobs.example.org, b.example:8443", frozenset({"jobs.example.org", "b.example:8443"})),
    "PUBLIC_URL": ("https://Jobs.example.org:8443/", "https://jobs.example.org:8443"),
    "TRUSTED_PROXIES": ("2", 2),
    "SSH_KEYS": ("/etc/keys:/run/key", (Path("/etc/keys"), Path("/run/key"))),
    "KEY_ENCRYPTION_FILE": ("/run/key", Path("/run/key")),
    "KEY_ENCRYPTION_KEY": ("A" * 43 + "=", (bytes(32),)),
    "RUNTIME_FOLDER": ("/run/remoteweb", Path("/run/remoteweb")),
}

WRONG = {
    "SECRET_KEY": ["short", ""],
    "SECRET_KEY_FALLBACKS": ["canary", f"{'1' * 32},canary"],
    "SYNC_NOW": ["maybe", ""],
    "AUDIT_TO_LOG": ["journal"],
    "REQUIRE_SECOND_FACTOR": ["administrators"],
    "LOCAL_INTERVAL": ["0", "-1", "nan", "inf", "ten", "1e9", ""],
    "CLEAN_DAYS": ["0", "-1", "nan", "1e9", "never", ""],
    "KEY_ENCRYPTION_FILE": ["key", ""],
    "KEY_ENCRYPTION_KEY": ["A" * 43, "canary", ""],
    "ALLOWED_HOSTS": ["", "https://jobs.example.org", "*"],
    "PUBLIC_URL": [
        "",
        "jobs.example.org",
        "http://jobs.example.org",
        "https://jobs.example.org/pages",
        "https://me:canary@jobs.example.org",
        "https://jobs.example.org:port",
        "https://[jobs.example.org",
        "https://",
    ],
    "TRUSTED_PROXIES": ["", "-1", "all", "10", "1.0", "²"],
    "RUNTIME_FOLDER": ["", "run", "~/run"],
    "SSH_KEYS": ["", ":", "id_ed25519", "~/.ssh/id_ed25519", "/etc/keys:id_ed25519"],
    "SQLALCHEMY_DATABASE_URI": [
        "",
        "canary",
        "jobs.sqlite",
        "sqlite://",
        "sqlite:///jobs.sqlite",
        "mysql://me:canary@db/jobs",
        "postgresql+psycopg2://me:canary@db/jobs",
    ],
    "SYNC_NOV": ["on"],
    "TRUSTED_HOSTS": ["jobs.example.org"],
    "SESSION_IDLE_DAYS": ["off", "0", "nan"],
    "SESSION_DAYS": ["off", "", "40000"],
}


@pytest.mark.parametrize("name", FINE)
def test_a_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, value = FINE[name]
    monkeypatch.setenv(f"REMOTEWEB_{name}", text)
    assert create_app().config[name] == value


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_setting_stops_the_start_with_its_name_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"REMOTEWEB_{name}", value)
    with pytest.raises(WrongSetting) as refusal:
        create_app()
    sentence = refusal.value.format_message()
    assert sentence.startswith(f"REMOTEWEB_{name} ")
    assert sentence.endswith((".", "?"))
    assert "canary" not in sentence


def test_a_mistyped_setting_is_told_what_it_was_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_SYNC_NOV", "on")
    with pytest.raises(WrongSetting, match=r"not a setting\. Did you mean REMOTEWEB_SYNC_NOW\?"):
        create_app()


def test_overrides_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_LOCAL_INTERVAL", "20")
    assert create_app({"LOCAL_INTERVAL": 30.0}).config["LOCAL_INTERVAL"] == 30.0


def test_every_setting_has_a_default_and_a_meaning() -> None:
    assert set(FINE) | {"SQLALCHEMY_DATABASE_URI"} == set(config.SETTINGS)
    assert all(setting.meaning.endswith(".") for setting in config.SETTINGS.values())


def test_a_password_in_the_databases_address_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    app = create_app({"SQLALCHEMY_DATABASE_URI": "postgresql://me:canary@db.example/jobs"})
    with app.app_context():
        assert "canary" not in shown(db.engine.url)
        assert "db.example" in shown(db.engine.url)
        db.engine.dispose()


@pytest.mark.sqlite
def test_the_database_and_the_secret_lie_in_the_state_folder(client: FlaskClient, home: Path) -> None:
    folder = home / ".local" / "state" / "remoteweb"
    assert {"remoteweb.sqlite", "secret"} <= {file.name for file in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600


def test_what_answers_nobody_needs_no_secret(app: Flask, home: Path) -> None:
    worker = begin("sync-worker")
    assert worker.stderr is not None and "runs" in worker.stderr.readline()
    interrupt(worker)
    secret = home / ".local/state/remoteweb/secret"
    assert not secret.exists()
    secret.touch(mode=0o644)
    assert run("sources").returncode == 0
    done = run("serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Others can read {secret}." in done.stderr


def test_the_secret_is_made_once_also_by_many_starts_at_once(tmp_path: Path) -> None:
    keys: list[str] = []
    folder = tmp_path / "state"
    folder.mkdir()
    starts = [threading.Thread(target=lambda: keys.append(secret_key(folder))) for _ in range(16)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(keys) == 16
    assert len(set(keys)) == 1
    assert [file.name for file in folder.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("content", "mode", "sentence"), [("x" * 64, 0o644, "Others can read"), ("", 0o600, "no usable key")]
)
def test_a_secret_that_is_none_stops_the_start(
    tmp_path: Path, content: str, mode: int, sentence: str
) -> None:
    (tmp_path / "secret").write_text(content)
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(WrongSetting, match=sentence):
        secret_key(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(WrongSetting, match="The state folder cannot be used: Not a directory"):
        create_app()


@pytest.mark.parametrize(
    ("path", "status"), [("/no/such/page", 404), ("/enter/used", 303)], ids=["a refusal", "a redirect"]
)
def test_documents_carry_the_strict_headers(client: FlaskClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert {"camera=()", "microphone=()", "geolocation=()"} <= set(
        answer.headers["Permissions-Policy"].split(", ")
    )
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert (
        "Strict-Transport-Security" not in answer.headers
    )  # a browser would never again ask http://localhost
    assert answer.headers["Cache-Control"] == "no-store"
    assert {"HX-Request", "HX-Request-Type"} <= set(answer.vary)


@pytest.mark.parametrize("path", ["/", "/no/such/page", "/sign-in"])
def test_behind_tls_a_browser_is_told_to_stay_there(client: FlaskClient, path: str) -> None:
    answer = client.get(path, base_url="https://localhost")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_nothing_but_our_own_files_may_be_loaded() -> None:
    sources = {part.split()[0]: part.split()[1:] for part in CONTENT_SECURITY_POLICY.split("; ")}
    assert sources["default-src"] == ["'none'"]
    assert {word for words in sources.values() for word in words} == {"'none'", "'self'"}


def test_a_part_of_a_page_stays_small(client: FlaskClient) -> None:
    answer = client.get("/no/such/page", headers={"HX-Request": "true", "HX-Request-Type": "partial"})
    assert "Content-Security-Policy" not in answer.headers
    assert answer.text.startswith("<hx-partial ")
    assert sum(len(name) + len(value) + 4 for name, value in answer.headers) < 300


def test_an_asset_is_kept_for_a_year_under_the_address_of_its_content(
    app: Flask, anonymous: FlaskClient
) -> None:
    with app.test_request_context():
        address = assets.asset_url("vendor/htmx-4.0.1.min.js")
    with anonymous.get(address) as kept:
        assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert kept.headers["X-Content-Type-Options"] == "nosniff"
    with anonymous.get(address, headers={"If-None-Match": kept.headers["ETag"]}) as again:
        assert again.status_code == 304
    for other in (address.partition("?")[0], address + "0"):
        with anonymous.get(other) as answer:
            assert answer.headers["Cache-Control"] == "no-cache"


def test_an_asset_that_changes_gets_another_address(
    tmp_path: Path, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "static_folder", str(tmp_path))
    addresses = []
    with app.test_request_context():
        for content in ("a", "b"):
            (tmp_path / "app.css").write_text(content)
            os.utime(tmp_path / "app.css", ns=(0, len(addresses) + 1))
            addresses.append(assets.asset_url("app.css"))
        with pytest.raises(FileNotFoundError):
            assets.asset_url("missing.css")
    assert addresses[0] != addresses[1]


def test_an_unforeseen_error_is_a_page_that_says_so_and_shows_nothing_of_it(
    app: Flask, client: FlaskClient
) -> None:
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=False)
    app.view_functions["access.enter"] = lambda token: 1 / 0
    answer = client.get("/enter/canary")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "canary" not in answer.text
    assert "ZeroDivision" not in answer.text


@pytest.mark.sqlite
def test_a_database_that_somebody_keeps_locked_is_a_message_and_reading_goes_on(
    app: Flask, client: FlaskClient
) -> None:
    with app.app_context():
        link = access.new_link("http://localhost")
        path = db.engine.url.database
        db.engine.dispose()
    with closing(sqlite3.connect(str(path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with app.app_context(), db.engine.connect() as connection:
            connection.connection.execute("PRAGMA busy_timeout = 100")  # this one goes back into the pool
        assert client.get("/no/such/page").status_code == 404
        refusal = client.get(link, headers={"HX-Request": "true"})
    assert refusal.status_code == 503
    assert refusal.text.startswith("<hx-partial ")
    assert "The database is busy" in refusal.text
    assert client.get(link).status_code == 303  # the link was not used up


def test_a_database_that_was_never_made_is_a_page_that_says_so(empty_database: None) -> None:
    app = create_app({"TESTING": True})
    answer = app.test_client().get("/enter/x")
    with app.app_context():
        db.engine.dispose()
    assert answer.status_code == 503
    assert "The database cannot be used" in answer.text


def test_a_write_after_a_read_takes_the_lock_and_sees_what_was_written_meanwhile(app: Flask) -> None:
    def add_one() -> None:
        with app.app_context():
            begin_writing()
            counter = db.session.get(Counter, "change.1")
            assert counter is not None
            counter.value += 1
            db.session.commit()

    with app.app_context():
        counter = db.session.get(Counter, "change.1")  # a read, as a view does before it acts
        assert counter is not None
        assert counter.value == 0
        other = threading.Thread(target=add_one)
        other.start()
        other.join()
        begin_writing()
        counter.value += 1
        begin_writing()  # called by one that has begun already: nothing is lost
        db.session.commit()
        assert counter.value == 2


def test_a_change_before_begin_writing_is_a_mistake_that_is_told(app: Flask) -> None:
    with app.app_context():
        counter = db.session.get(Counter, "change.1")
        assert counter is not None
        counter.value = 5
        with pytest.raises(RuntimeError, match="before the first change"):
            begin_writing()


def test_a_file_that_is_not_there_is_answered_with_a_documents_headers(client: FlaskClient) -> None:
    answer = client.get("/static/none.css")
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == (
        "nosniff",
        "no-store",
    )

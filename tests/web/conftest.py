"""An app with a database of its own, and a browser that has been let in."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.parts import Daemon, base_folder, need, wait_until
from flask import Flask
from flask.testing import FlaskClient

from remoteweb import access, create_app
from remoteweb.database import db
from remoteweb.upgrade import upgrade_database

# What every browser says when a page of ours sends a form.
BROWSER = {"HTTP_SEC_FETCH_SITE": "same-origin"}


@pytest.fixture
def app(home: object, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """The app, on a new SQLite file in the test's own state folder. Not pushed: `with app.app_context():`.

    With DATABASE=postgresql in the environment, on a new database of a real PostgreSQL instead.
    """
    settings: dict[str, object] = {"TESTING": True}
    if os.environ.get("DATABASE") == "postgresql":
        settings["SQLALCHEMY_DATABASE_URI"] = request.getfixturevalue("postgresql")()
    app = create_app(settings)
    upgrade_database(app)
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def anonymous(app: Flask) -> FlaskClient:
    """A browser without a cookie."""
    return _browser(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser that has opened a link, and sends its forms from our own pages."""
    browser = _browser(app)
    with app.app_context():
        link = access.new_link("http://localhost")
    assert browser.get(link).status_code == 303
    return browser


def _browser(app: Flask) -> FlaskClient:
    browser = app.test_client()
    browser.environ_base = {**browser.environ_base, **BROWSER}
    return browser


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], str]]:
    """A PostgreSQL of our own, on a unix socket: call it for the address of a new, empty database."""
    initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    need("PostgreSQL", str(initdb or "initdb"), "setpriv")
    assert initdb is not None
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with base_folder("postgresql") as folder:
        data = folder / "data"
        data.mkdir()
        if user:
            shutil.chown(folder, user)
            shutil.chown(data, user)
        log = folder / "log"
        _run(user, str(initdb), "-D", str(data), "-A", "trust", "-U", "remoteweb", "-E", "UTF8", "--no-sync")
        options = ("-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off")
        server = Daemon(str(initdb.with_name("postgres")), "-D", str(data), *options, log=log, user=user)
        try:
            server.wait_until((folder / ".s.PGSQL.5432").exists)
            yield lambda: _new_database(folder)
        finally:
            server.stop()


def _run(user: str | None, *command: str) -> None:
    before = ["setpriv", f"--reuid={user}", "--regid", user, "--clear-groups"] if user else []
    done = subprocess.run([*before, *command], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


def _new_database(folder: Path) -> str:
    import psycopg

    name = f"test{secrets.token_hex(4)}"
    where = f"host={folder} user=remoteweb dbname=postgres"
    wait_until(lambda: _answers(where), "PostgreSQL answers")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://remoteweb@/{name}?host={folder}"


def _answers(where: str) -> bool:
    import psycopg

    try:
        psycopg.connect(where).close()
    except psycopg.OperationalError:
        return False
    return True

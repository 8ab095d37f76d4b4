"""An app with a database of its own, and a browser that has been let in."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.parts import base_folder
from cluster.postgresql import PostgreSQL
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache

from remoteweb import access, create_app
from remoteweb.database import db
from remoteweb.paths import state_folder
from remoteweb.upgrade import upgrade_database

# What every browser says when a page of ours sends a form.
BROWSER = {"HTTP_SEC_FETCH_SITE": "same-origin"}


FILE = "remoteweb.sqlite"


class Templates(BytecodeCache):
    """What they were compiled to, for the apps of all tests: each test has a new one, and this was a third of its work."""

    def __init__(self) -> None:
        self.compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.compiled:
            bucket.bytecode_from_string(self.compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.compiled[bucket.key] = bucket.bytecode_to_string()


Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": Templates()}
on_postgresql = os.environ.get("DATABASE") == "postgresql"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "sqlite" if on_postgresql else "postgresql"
    left_out = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of this version without a row in it: to copy it is quicker than to make it anew for each test."""
    with pytest.MonkeyPatch.context() as patch, base_folder("migrated") as folder:
        patch.setenv("XDG_STATE_HOME", str(folder))
        address = request.getfixturevalue("postgresql")() if on_postgresql else f"sqlite:///{folder}/{FILE}"
        app = create_app({"SQLALCHEMY_DATABASE_URI": address})
        upgrade_database(app)
        with app.app_context():
            db.engine.dispose()
        yield address


@pytest.fixture(autouse=True)
def default_database(
    home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    """The database of all that the test starts: a file in its home; with DATABASE=postgresql, one of a real PostgreSQL."""
    if not on_postgresql:
        yield
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    address = server.new_database(request.getfixturevalue("migrated"))
    monkeypatch.setenv("REMOTEWEB_SQLALCHEMY_DATABASE_URI", address)
    yield
    server.drop(address)


@pytest.fixture
def empty_database(
    default_database: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """One in which nothing was made yet, where the test would have a made one."""
    if on_postgresql:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        monkeypatch.setenv("REMOTEWEB_SQLALCHEMY_DATABASE_URI", server.new_database())


@pytest.fixture
def app(default_database: None, migrated: str) -> Iterator[Flask]:
    """The app, on a new database. Not pushed: `with app.app_context():`."""
    if not on_postgresql and not (own := state_folder() / FILE).exists():
        shutil.copy(migrated.removeprefix("sqlite:///"), own)
    app = create_app({"TESTING": True})
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

"""An app with a database of its own, and a browser that has been let in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.postgresql import PostgreSQL
from flask import Flask
from flask.testing import FlaskClient
from web.made_once import app, migrated, on_postgresql, put_a_made_one

from remoteweb import access

__all__ = ["app", "migrated"]

# What every browser says when a page of ours sends a form.
BROWSER = {"HTTP_SEC_FETCH_SITE": "same-origin"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "sqlite" if on_postgresql else "postgresql"
    left_out = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def default_database(
    home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    """The database of all that the test starts, made already: a file in its home; with DATABASE=postgresql, one of a real
    PostgreSQL.
    """
    if not on_postgresql:
        if "empty_database" not in request.fixturenames:
            put_a_made_one(request.getfixturevalue("migrated"))
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

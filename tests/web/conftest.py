"""An app with a database of its own, and a browser that has been let in."""

import os
from collections.abc import Iterator

import pytest
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

"""What the apps of all tests have in common, made once for all of them. Each test has a new app, and to make these anew
was two thirds of its work. What is shared is what is the same in every app: the same text, compiled.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster.parts import base_folder
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule

from remoteweb import create_app
from remoteweb.database import db
from remoteweb.paths import state_folder
from remoteweb.upgrade import upgrade_database

FILE = "remoteweb.sqlite"
on_postgresql = os.environ.get("DATABASE") == "postgresql"


class Templates(BytecodeCache):
    def __init__(self) -> None:
        self.compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.compiled:
            bucket.bytecode_from_string(self.compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.compiled[bucket.key] = bucket.bytecode_to_string()


def _alike(one: object, other: object) -> bool:
    return type(one) is type(other)


# What SQL is kept for is a statement and the engine's dialect; each app has an engine, so a dialect, of its own.
for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    dialect.__eq__ = _alike  # type: ignore[method-assign]
    dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]


class Addresses:
    """What puts the address of a route together: werkzeug compiles two functions for each rule that is bound to an app."""

    def __init__(self, compile_one: Callable[[Rule, bool], Any]) -> None:
        self._compile_one = compile_one
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def of(self, rule: Rule, append_unknown: bool = True) -> Any:
        key = (rule.rule, tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in self._compiled:
            self._compiled[key] = self._compile_one(rule, append_unknown)
        return self._compiled[key]


_addresses = Addresses(Rule._compile_builder)
Rule._compile_builder = lambda rule, append_unknown=True: _addresses.of(rule, append_unknown)  # type: ignore[method-assign]
Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": Templates()}
FOR_A_TEST = {
    "TESTING": True,
    "SQLALCHEMY_ENGINE_OPTIONS": {"execution_options": {"compiled_cache": LRUCache(500)}},
}


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


def put_a_made_one(migrated: str) -> None:
    """Where an app of this home looks for its database."""
    shutil.copy(migrated.removeprefix("sqlite:///"), state_folder() / FILE)


@pytest.fixture
def app(home: object, migrated: str) -> Iterator[Flask]:
    """The app, on a new database. Not pushed: `with app.app_context():`."""
    if not on_postgresql and not (state_folder() / FILE).exists():
        put_a_made_one(migrated)
    app = create_app(FOR_A_TEST)
    upgrade_database(app)
    yield app
    with app.app_context():
        db.engine.dispose()

"""What a reverse proxy or a monitor asks: whether this process answers, and whether the work is done. Nothing else, to nobody."""

import shutil
import threading
import time
from pathlib import Path

from flask import Flask, Response, current_app
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from remoteweb import sources
from remoteweb.database import db
from remoteweb.sync import queries
from remoteweb.upgrade import versions_here

# Whoever is not signed in must not be able to make the database work: what was found out is told to all for so long.
TOLD_SECONDS = 10.0
LEAST_ROOM = 0.05  # of the disk that a SQLite file is on


def init_app(app: Flask) -> None:
    app.extensions["readiness"] = Readiness()
    app.add_url_rule("/healthz", "healthz", _healthz)
    app.add_url_rule("/readyz", "readyz", _readyz)


def _healthz() -> Response:
    return Response("ok\n", mimetype="text/plain")  # without a look at the database


def _readyz() -> Response:
    if current_app.extensions["readiness"].is_given():
        return Response("ready\n", mimetype="text/plain")
    return Response("not ready\n", 503, mimetype="text/plain")


class Readiness:
    """What is in the way is for the log alone, once: whoever asks is a stranger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._why: str | None = None  # nobody has looked yet

    def is_given(self) -> bool:
        """While one looks, which takes long where the database hangs, all others are told what was found before."""
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._why == ""

    def _look(self) -> None:
        if time.monotonic() - self._looked_at < TOLD_SECONDS:
            return
        before, self._why = self._why, what_is_in_the_way()
        self._looked_at = time.monotonic()
        if self._why and self._why != before:
            current_app.logger.warning("Not ready: %s", self._why)


def what_is_in_the_way() -> str:
    """A sentence for whoever runs this; empty if nothing is."""
    try:
        version = set(db.session.scalars(text("SELECT version_num FROM alembic_version")))
        if version != {versions_here()[-1]}:
            return "the database is not of this version; `remoteweb migrate` brings it there."
        now = time.time()
        left = [one.label for one in sources.with_sources_of_everybody() if queries.is_left_alone(one, now)]
    except DBAPIError:
        return "the database does not answer."
    if left:
        return f"no sync of {', '.join(left)} was tried for a while. Is the sync worker running?"
    return "" if _has_room() else "the disk of the database is nearly full."


def _has_room() -> bool:
    if db.engine.dialect.name != "sqlite":
        return True
    disk = shutil.disk_usage(Path(str(db.engine.url.database)).parent)
    return disk.free >= LEAST_ROOM * disk.total

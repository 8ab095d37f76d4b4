"""A sync cleans up on the server once enough has gathered, and not before; what it cleaned stays here, and says so."""

import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from library.registries import Folder, key_of
from web.syncing import APP, ask, job, sync

from remotejobs.shell import LocalShell
from remoteweb import cleaning
from remoteweb.database import db
from remoteweb.models import Source

DAYS = 40.0


class Listening(LocalShell):
    """Keeps what it was asked."""

    asked = ""

    def run(self, command: str, data: Any = b"", *arguments: Any, **options: Any) -> Any:
        self.asked = f"{len(command)} {data.decode()}"
        return super().run(command, data, *arguments, **options)


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(cleaning, "ENOUGH", 3)
    return Folder.make(home, APP)


def listened() -> str:
    shell = Listening()
    sync(through=lambda _: shell)
    return shell.asked


def in_a_day() -> None:
    db.session.execute(db.update(Source).values(clean_at=0.0))
    db.session.commit()


def test_a_sync_cleans_once_enough_has_gathered(app: Flask, client: FlaskClient, folder: Folder) -> None:
    keys = [key_of(number) for number in range(1, 4)]
    with app.app_context():
        sync()
        quiet = listened()
        for key in keys[:2]:
            folder.ended(key, DAYS)
        sync()
        steady = listened()
        assert "seal" not in steady, "two are not enough"
        folder.ended(keys[2], DAYS)
        sync()  # it becomes known here that they have ended
        asking = listened()
        assert "seal" in asking
        assert len(asking) > len(steady)
        assert folder.names() == set()
        assert not any((folder.path / "runs").iterdir())
        assert "seal" not in listened(), "there is no more for now"
        assert all(job(key).cleaned and job(key).state == "done" for key in keys)
        in_a_day()
        assert "seal" not in listened(), "what was cleaned does not count"
        assert listened().split()[0] == quiet.split()[0], "and nothing more is sent along"
        page = client.get(f"/jobs/{job(keys[0]).id}").text
        assert "its run folder went to the trash on this machine" in page
        ask(job(keys[0]), "resubmit")
        sync()
        again = job(keys[0].removesuffix("1") + "2")
        assert again.name == job(keys[0]).name


@pytest.mark.parametrize("days", [0.0, 90.0], ids=["off", "later"])
def test_what_is_not_to_be_cleaned_yet_stays(app: Flask, folder: Folder, days: float) -> None:
    app.config["CLEAN_DAYS"] = days
    for number in range(5):
        folder.ended(key_of(number), DAYS)
    with app.app_context():
        sync()
        assert "seal" not in listened()
    assert len(folder.names()) == 25


@pytest.mark.parametrize(("days", "stays"), [(0.0, True), (90.0, False)], ids=["off", "ninety days"])
def test_the_trash_is_emptied_only_where_that_was_asked_for(
    app: Flask, folder: Folder, days: float, stays: bool
) -> None:
    app.config["TRASH_DAYS"] = days
    lies = folder.path / "trash" / "older" / key_of(9)
    lies.mkdir(parents=True)
    os.utime(lies.parent, (1, 1))  # older than any number of days
    for number in range(5):
        folder.ended(key_of(number), DAYS)
    with app.app_context():
        sync()
        listened()
    assert folder.names() == set()
    assert lies.exists() is stays


def test_what_cannot_be_cleaned_is_not_tried_in_every_sync(app: Flask, folder: Folder) -> None:
    """Jobs of another cluster with the same home: they count, and are for somebody there to clean."""
    for number in range(5):
        folder.ended(key_of(number), DAYS, cluster="elsewhere")
    with app.app_context():
        sync()
        assert "seal" in listened()
        assert "seal" not in listened()
    assert len(folder.names()) == 25

"""`remoteweb backup`: a whole copy, also while others write."""

import contextlib
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from flask import Flask
from web.stored import is_whole
from web.terminals import run

from remoteweb.database import begin_writing, db
from remoteweb.models import Counter

pytestmark = pytest.mark.sqlite


def test_a_copy_that_is_made_while_others_write_is_whole_and_its_owners(app: Flask, tmp_path: Path) -> None:
    over = threading.Event()

    def write() -> None:
        with app.app_context():
            while not over.is_set():
                begin_writing()
                db.session.execute(db.update(Counter).values(value=Counter.value + 1))
                db.session.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = [run("backup", str(tmp_path / f"copy{n}")) for n in range(3)]
    finally:
        over.set()
        writer.join()
    assert [one.returncode for one in done] == [0, 0, 0], done
    values = []
    for n in range(3):
        path = tmp_path / f"copy{n}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with contextlib.closing(sqlite3.connect(path)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found = {value for (value,) in copy.execute("SELECT value FROM counter WHERE name <> 'none'")}
        assert len(found) == 1, "both counters were written in one transaction"
        values += found
    assert values == sorted(values) and values[0] < values[2]
    assert not list(tmp_path.glob("*.part")) and is_whole()


def test_a_copy_can_be_served_again(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "copy.sqlite"
    assert run("backup", str(path)).returncode == 0
    monkeypatch.setenv("REMOTEWEB_SQLALCHEMY_DATABASE_URI", f"sqlite:///{path}")
    done = run("migrate")
    assert (done.returncode, done.stdout) == (0, f"The database {path} is of this version.\n")


def test_what_lies_there_already_stays(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("letters")
    done = run("backup", str(path))
    assert (done.returncode, done.stderr) == (1, f"Error: {path} is there already, and was left as it is.\n")
    assert path.read_text() == "letters"


def test_a_place_that_cannot_be_written_is_a_sentence(app: Flask, tmp_path: Path) -> None:
    done = run("backup", str(tmp_path / "no" / "folder"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "could not be written" in done.stderr


def test_a_damaged_database_makes_no_copy(app: Flask, home: Path, tmp_path: Path) -> None:
    with app.app_context():
        db.session.execute(db.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.engine.dispose()
    path = home / ".local/state/remoteweb/remoteweb.sqlite"
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096)
    done = run("backup", str(tmp_path / "copy"))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("copy*"))

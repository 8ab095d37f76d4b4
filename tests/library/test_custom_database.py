"""The programs of docs/custom-database.md, run as they stand there."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from library.machines import APP, Machine, until
from library.registries import Folder, key_of, settings_text

from remotejobs import RemoteJobSubmitter

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "custom_database.py"
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "custom-database.md").read_text(), re.DOTALL)
SHORT, QUOTED, LOOP = PROGRAMS
QUERY = "SELECT id, title, state, exit_status FROM runs"


def test_the_example_is_quoted_as_it_is() -> None:
    assert EXAMPLE.read_text() == QUOTED


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[str, Callable[[], list[tuple[Any, ...]]]]:
    """Its address for SQLAlchemy, and a look into it by other means."""
    if request.param == "sqlite":
        path = tmp_path / "lab.sqlite3"

        def rows() -> list[tuple[Any, ...]]:
            with closing(sqlite3.connect(path)) as connection:
                return connection.execute(QUERY).fetchall()

        return f"sqlite:///{path}", rows
    address = request.getfixturevalue("postgresql")()

    def rows_there() -> list[tuple[Any, ...]]:
        with psycopg.connect(address) as connection:
            return connection.execute(QUERY).fetchall()

    return address.replace("postgresql:", "postgresql+psycopg:"), rows_there


def test_the_example_keeps_a_table_up_to_date(
    database: tuple[str, Callable[[], list[tuple[Any, ...]]]], home: Path
) -> None:
    address, rows = database
    jobs = RemoteJobSubmitter(APP)
    jobid = jobs.submit_job(jobs.create_settings(None, None, "exit 3", name="a job"))["jobid"]
    until(jobs, jobid, lambda state: state["status"] == "failed")
    folder = Folder(home / f".{APP}")
    folder.sealed("b1", {f"{key_of(1)}.json": settings_text(name="sealed")}, [key_of(1)])
    assert sorted(run(address)) == sorted([f"{jobid} failed", f"{key_of(1)} submitted"])
    assert sorted(rows()) == sorted([(jobid, "a job", "failed", 3), (key_of(1), "sealed", "submitted", None)])
    assert run(address) == []
    folder.settings(key_of(2), settings_text(name="new"))
    assert run(address) == [f"{key_of(2)} submitted"]
    assert len(rows()) == 3


def run(address: str) -> list[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLE), address, APP]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Database:
    """The least that the documented loop needs."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def get_record(self, jobid: str) -> dict[str, Any] | None:
        return self.rows.get(jobid)

    def update(self, record: dict[str, Any], values: dict[str, Any]) -> None:
        record.update(values)

    def insert(self, values: dict[str, Any]) -> None:
        self.rows[values["id"]] = values


def test_the_documented_loop_fills_a_database_by_one_command(server: Machine) -> None:
    jobs, database = server.submitter(), Database()
    names = {
        "jobs": jobs,
        "database": database,
        "mapping": {"jobid": "id", "status": "state", "exit_code": "code"},
    }
    ids = [
        jobs.submit_job(jobs.create_settings(None, None, command, scheduler="process"))["jobid"]
        for command in ("sleep 60", "exit 4")
    ]
    until(jobs, ids[1], lambda state: state["status"] == "failed")
    before = server.shell.execs
    exec(LOOP, dict(names))
    assert server.shell.execs == before + 1
    assert database.rows == {
        ids[0]: {"id": ids[0], "state": "running", "code": None},
        ids[1]: {"id": ids[1], "state": "failed", "code": 4},
    }
    jobs.cancel_job(*jobs_key(ids[0]))
    exec(LOOP, dict(names))
    assert database.rows[ids[0]]["state"] == "cancelled"
    with jobs.changes() as changes:
        assert {state["jobid"]: state["status"] for state in changes} == {
            key: row["state"] for key, row in database.rows.items()
        }


def jobs_key(jobid: str) -> tuple[str, int]:
    hash_, n = jobid.rsplit("_", 1)
    return hash_, int(n)


def test_the_short_way_is_as_short_as_it_stands_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Folder.make(home).good(3)
    monkeypatch.chdir(tmp_path)
    exec(SHORT.replace(', "alps"', ""), {})
    assert capsys.readouterr().out == "3 jobs have changed\n"
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (3,)

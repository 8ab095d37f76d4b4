"""Sinks: whatever happens to a pull, a database or a file, the next pull makes of it what a new one would have."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from cluster.parts import mounted
from cluster.sshd import Sshd
from library import kept
from library.machines import APP, over_ssh
from library.registries import Folder, fact_text, key_of, settings_text

from remotejobs import BadInput, RemoteJobSubmitter
from remotejobs.sinks import (
    CSVSink,
    DatabaseSink,
    JSONLinesSink,
    NotStored,
    Overtaken,
    PostgreSQLSink,
    SQLiteSink,
    TableSink,
    pull,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=kept.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def where(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgresql")()) if kind == "postgresql" else str(tmp_path)


@pytest.fixture
def folder(home: Path) -> Folder:
    return Folder.make(home)


@contextmanager
def sink_of(kind: str, where: str, name: str) -> Iterator[kept.Sink]:
    sink = kept.make(kind, where, name)
    try:
        yield sink
    finally:
        kept.close(sink)


def pulled(kind: str, where: str, name: str) -> int:
    with sink_of(kind, where, name) as sink:
        return pull(RemoteJobSubmitter(APP), sink)


def truth() -> kept.Rows:
    with RemoteJobSubmitter(APP).changes() as changes:
        return kept.told({state["jobid"]: state for state in changes})


def test_what_has_changed_is_stored_and_nothing_else(kind: str, where: str, folder: Folder) -> None:
    keys = folder.good(20)
    assert pulled(kind, where, "jobs") == 20
    assert kept.content(kind, where, "jobs") == truth()
    assert pulled(kind, where, "jobs") == 0
    folder.fact(keys[3], "cleaned")
    folder.settings(key_of(40), settings_text(name="new"))
    assert pulled(kind, where, "jobs") == 2
    found = kept.content(kind, where, "jobs")
    assert found == truth()
    assert found[keys[3]][-1] == "1"


def test_a_pull_that_was_killed_anywhere_is_made_good_by_the_next(
    kind: str, where: str, folder: Folder
) -> None:
    kill_pulls(kind, where, folder, kills=9 if kind in ("csv", "jsonl") else 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_pull_that_was_killed_at_any_line_is_made_good_by_the_next(
    kind: str, where: str, folder: Folder
) -> None:
    kill_pulls(kind, where, folder, kills=100)


def kill_pulls(kind: str, where: str, folder: Folder, kills: int) -> None:
    """The first pull, and one that finds changes: each killed further on each time."""
    keys = folder.good(max(24, kills))
    names = [f"jobs{number}" for number in range(kills + 1)]
    for count, change in ((kills // 3, "cleaned"), (kills, "cancel.1")):
        killed_pulls(kind, where, "jobs", count)
        right = truth()
        for name in names:
            pulled(kind, where, name)
            assert kept.content(kind, where, name) == right, name
        for key in keys[::3]:
            folder.fact(key, change)
        folder.settings(key_of(77 + len(change)), settings_text(name="new"))


def killed_pulls(kind: str, where: str, prefix: str, kills: int) -> None:
    command = [sys.executable, "-m", "library.kept", APP, kind, where, prefix, str(kills)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert int(done.stdout) > 2 * kills, "there were too few lines to be killed at"


def test_whatever_was_copied_or_set_back_catches_up(
    kind: str, where: str, folder: Folder, tmp_path: Path
) -> None:
    keys = folder.good(20)
    pulled(kind, where, "jobs")
    old = copy_of(kind, where, tmp_path / "old")
    folder.fact(keys[3], "cleaned")
    pulled(kind, where, "jobs")
    copy = copy_of(kind, where, tmp_path / "copy")
    folder.fact(keys[5], "cleaned")
    assert [pulled(kind, place, "jobs") for place in (where, copy, old)] == [1, 1, 2]
    for place in (where, copy, old):
        assert kept.content(kind, place, "jobs") == truth()


def copy_of(kind: str, where: str, folder: Path) -> str:
    if kind == "postgresql":
        name = psycopg.conninfo.conninfo_to_dict(where)["dbname"]
        with psycopg.connect(where.replace(f"/{name}?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{folder.name} TEMPLATE {name}".encode())
        return where.replace(f"/{name}?", f"/{name}{folder.name}?")
    folder.mkdir()
    for path in Path(where).glob("jobs*"):
        shutil.copy(path, folder)
    return str(folder)


def test_a_pull_that_was_overtaken_stores_nothing_and_pulls_again(
    kind: str, where: str, folder: Folder
) -> None:
    """An older answer must not be stored over a newer one: its cursor would not tell the difference."""
    keys = folder.good(5)
    with sink_of(kind, where, "jobs") as sink:
        jobs = RemoteJobSubmitter(APP)
        with jobs.changes(sink.cursor()) as slow:
            folder.fact(keys[0], "cleaned")
            pulled(kind, where, "jobs")
            with pytest.raises(Overtaken, match="Nothing is lost"):
                sink.store(slow.parts(), None)
        since = sink.cursor()
        folder.fact(keys[1], "cleaned")
        with jobs.changes(since) as slow:
            folder.fact(keys[2], "cleaned")
            pulled(kind, where, "jobs")
            with pytest.raises(Overtaken):
                sink.store(slow.parts(), since)
        assert pull(jobs, sink) == 0
    assert kept.content(kind, where, "jobs") == truth()


# ---- hostile values and names ----

EVIL = [
    '=HYPERLINK("http://x")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "'; DROP TABLE jobs; --",
    "%s {} ? :x",
    'a\nb,"c"',
    "\0nul",
    "\ud800",
    "日本",
]


def test_names_of_jobs_are_values_and_nothing_more(kind: str, where: str, folder: Folder) -> None:
    for number, name in enumerate(EVIL):
        folder.settings(key_of(number), json.dumps({"name": name, "command": "true"}))
    folder.settings(key_of(90), '{"name": {"a": [1]}, "command": 7, "arguments": "x"}')
    pulled(kind, where, "jobs")
    titles = {key: row[0] for key, row in kept.content(kind, where, "jobs").items()}
    right = {key: row[0] for key, row in truth().items()}
    if kind == "csv":
        right = {
            key: f"'{title}" if str(title).startswith(("=", "+", "-", "@")) else title
            for key, title in right.items()
        }
        assert sum(title.startswith("'") for title in titles.values()) == 5
    right[key_of(90)] = '{"a": [1]}'
    assert titles == right


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a;b", "1a", "a" * 64, "jobs\n", "naïve"])
def test_what_is_no_name_of_a_table_or_column_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be the name"):
        SQLiteSink(tmp_path / "jobs.sqlite3", name)
    with pytest.raises(BadInput, match="cannot be the name"):
        SQLiteSink(tmp_path / "jobs.sqlite3", "jobs", {"jobid": name})


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"status": "state"}, "lacks 'jobid'"),
        ({"jobid": "id", "colour": "colour"}, "no field 'colour'"),
        ({"jobid": "id", "status": "id"}, "names a column twice"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(mapping: dict[str, str], sentence: str, tmp_path: Path) -> None:
    for make in (
        lambda: SQLiteSink(tmp_path / "x", "jobs", mapping),
        lambda: CSVSink(tmp_path / "y", mapping),
        lambda: DatabaseSink(Plain(), mapping),
    ):
        with pytest.raises(BadInput, match=sentence):
            make()


# ---- tables that are there already ----


@pytest.mark.parametrize("columns", ["jobid TEXT", "jobid TEXT PRIMARY KEY"])
def test_a_table_that_does_not_fit_is_a_sentence(folder: Folder, tmp_path: Path, columns: str) -> None:
    folder.good(1)
    path = tmp_path / "jobs.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE jobs ({columns})")
    mapping = {"jobid": "jobid"} if "PRIMARY" not in columns else None
    with SQLiteSink(path, "jobs", mapping) as sink, pytest.raises(BadInput, match="does not fit"):
        pull(RemoteJobSubmitter(APP), sink)


def test_a_table_of_postgresql_that_does_not_fit_is_a_sentence(
    folder: Folder, postgresql: Callable[[], str]
) -> None:
    folder.good(1)
    address = postgresql()
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE jobs (jobid TEXT PRIMARY KEY)")
        connection.execute("CREATE TABLE other (jobid TEXT)")
    for table, mapping in [("jobs", None), ("other", {"jobid": "jobid"})]:
        with PostgreSQLSink(address, table, mapping) as sink, pytest.raises(BadInput, match="does not fit"):
            pull(RemoteJobSubmitter(APP), sink)


def test_each_field_has_a_column_that_takes_it(
    folder: Folder, postgresql: Callable[[], str], tmp_path: Path
) -> None:
    folder.settings(key_of(1), settings_text(arguments=["a"], environment={"B": "c"}))
    folder.fact(key_of(1), "exit.1", fact_text(code=3, time=1700000000))
    address = postgresql()
    with PostgreSQLSink(address) as sink:
        pull(RemoteJobSubmitter(APP), sink)
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT arguments, environment, exit_code, settling FROM jobs").fetchone()
    assert row == (["a"], {"B": "c"}, 3, False)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.sqlite3", poolclass=sqlalchemy.NullPool)
    types = {
        "jobid": sqlalchemy.String(40),
        "arguments": sqlalchemy.JSON,
        "environment": sqlalchemy.Text,
        "updated": sqlalchemy.DateTime,
    }
    table = sqlalchemy.Table(
        "runs", sqlalchemy.MetaData(), *(sqlalchemy.Column(name, kind) for name, kind in types.items())
    )
    table.create(engine)
    pull(RemoteJobSubmitter(APP), TableSink(engine, table))
    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.select(table.c.arguments, table.c.environment)).one()
    assert tuple(row) == (["a"], '{"B": "c"}')


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: SQLiteSink(folder / "none" / "jobs.sqlite3"),
        lambda folder: SQLiteSink(folder / "garbage"),
        lambda folder: PostgreSQLSink(f"host={folder} user=me password=canary dbname=lab"),
        lambda folder: pull(RemoteJobSubmitter(APP), CSVSink(folder / "none" / "jobs.csv")),
        lambda folder: pull(RemoteJobSubmitter(APP), JSONLinesSink(folder)),
    ],
)
def test_where_nothing_can_be_stored_a_sentence_says_so(
    make: Callable[[Path], object], folder: Folder, tmp_path: Path
) -> None:
    folder.good(1)
    (tmp_path / "garbage").write_text("this is no database, and longer than the head of one" * 10)
    with pytest.raises(NotStored, match=r"could not be brought up to date: .* nothing is lost") as caught:
        make(tmp_path)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("address", ["postgres:/me:canary@db/lab", "postgresql://me:canary%2@db/lab"])
def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(BadInput, match="looks like postgresql://user@host/name") as caught:
        PostgreSQLSink(address)
    assert "canary" not in str(caught.value) and caught.value.__cause__ is None


def test_a_table_that_takes_no_row_is_a_sentence_without_their_values(folder: Folder, tmp_path: Path) -> None:
    folder.good(1)
    tables = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "jobs",
        tables,
        sqlalchemy.Column("jobid", sqlalchemy.String(40), primary_key=True),
        sqlalchemy.Column("more", sqlalchemy.Text, nullable=False),
    )
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
    tables.create_all(engine)
    with pytest.raises(NotStored, match="NOT NULL") as caught:
        pull(RemoteJobSubmitter(APP), TableSink(engine, table))
    assert "INSERT" not in str(caught.value) and "parameters" not in str(caught.value)
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "csv", "jsonl"])
def test_a_full_disk_loses_nothing(kind: str, folder: Folder, tmp_path: Path) -> None:
    keys = folder.good(5)
    small, large = tmp_path / "small", [key_of(number) for number in range(50, 55)]
    small.mkdir()
    with mounted(small, "-t", "tmpfs", "-o", "size=600k", "small"):
        pulled(kind, str(small), "jobs")
        before = kept.content(kind, str(small), "jobs")
        for key in keys:
            folder.fact(key, "cleaned")
        for key in large:
            folder.settings(key, settings_text(name="x" * 200_000))
        with pytest.raises(NotStored):
            pulled(kind, str(small), "jobs")
        assert kept.content(kind, str(small), "jobs") == before
        for key in large:
            (folder.path / "settings" / f"{key}.json").unlink()
        assert pulled(kind, str(small), "jobs") == 5
        assert kept.content(kind, str(small), "jobs") == truth()


# ---- files ----


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_that_somebody_edited_is_told_everything(kind: str, folder: Folder, tmp_path: Path) -> None:
    folder.good(5)
    pulled(kind, str(tmp_path), "jobs")
    path = tmp_path / "jobs"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    assert pulled(kind, str(tmp_path), "jobs") == 5
    assert kept.content(kind, str(tmp_path), "jobs") == truth()
    assert sorted(each.name for each in tmp_path.glob("*jobs*")) == [".jobs.lock", "jobs", "jobs.cursor"]


@pytest.mark.parametrize("make", [CSVSink, JSONLinesSink])
@pytest.mark.parametrize("text", [b"my,notes\n1,2\n", b"\xff\xfe\x00", b"jobid\n\0"])
def test_a_file_that_is_none_of_ours_is_left_alone(
    make: Any, text: bytes, folder: Folder, tmp_path: Path
) -> None:
    folder.good(5)
    (tmp_path / "jobs").write_bytes(text)
    with pytest.raises(BadInput, match=r"move (it|the file) away"):
        pull(RemoteJobSubmitter(APP), make(tmp_path / "jobs"))
    assert (tmp_path / "jobs").read_bytes() == text


def test_csv_and_json_lines_are_read_by_others(folder: Folder, tmp_path: Path) -> None:
    folder.settings(key_of(1), settings_text(arguments=["a"]))
    folder.fact(key_of(1), "exit.1", fact_text(code=0, time=1700000000))
    pull(RemoteJobSubmitter(APP), CSVSink(tmp_path / "jobs.csv"))
    pull(RemoteJobSubmitter(APP), JSONLinesSink(tmp_path / "jobs.jsonl"))
    with (tmp_path / "jobs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    line = json.loads((tmp_path / "jobs.jsonl").read_text())
    assert (row["arguments"], line["arguments"]) == ('["a"]', ["a"])
    assert row["updated"] == line["updated"] == "2023-11-14T22:13:20+00:00"


# ---- the documented Database ----


class Plain:
    """Three functions, and no more."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def get_record(self, jobid: str) -> dict[str, Any] | None:
        return self.rows.get(jobid)

    def update(self, record: dict[str, Any], values: dict[str, Any]) -> None:
        self.calls.append("update")
        record.update(values)

    def insert(self, values: dict[str, Any]) -> None:
        self.calls.append("insert")
        self.rows[values["id"]] = values


class WithCursor(Plain):
    text: str | None = None

    def get_cursor(self) -> str | None:
        return self.text

    def set_cursor(self, cursor: str) -> None:
        self.text = cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        before = ({key: dict(row) for key, row in self.rows.items()}, self.text)
        try:
            yield
        except BaseException:
            self.rows, self.text = before
            raise


@pytest.mark.parametrize(("database", "again"), [(Plain(), 3), (WithCursor(), 1)])
def test_a_database_of_three_functions_is_enough(database: Plain, again: int, folder: Folder) -> None:
    keys = folder.good(3)
    jobs, sink = RemoteJobSubmitter(APP), DatabaseSink(database, kept.MAPPING)
    assert pull(jobs, sink) == 3
    folder.fact(keys[1], "cleaned")
    assert pull(jobs, sink) == again
    assert database.calls == ["insert"] * 3 + ["update"] * again
    assert database.rows[keys[1]] == {
        "id": keys[1],
        "title": "a job",
        "state": database.rows[keys[1]]["state"],
        "exit_code": 0,
        "cleaned": True,
    }


# ---- over the wire ----


def test_two_databases_of_one_server_take_a_command_each(sshd: Sshd, tmp_path: Path) -> None:
    account = sshd.account()
    made = Folder.make(account.home)
    made.good(30)
    made.owned_by(account.user)
    shell = over_ssh(sshd, account.user)
    jobs = RemoteJobSubmitter(APP, shell=shell)
    with sshd.counting() as counted:
        for name in ("one", "two"):
            with SQLiteSink(tmp_path / name) as sink:
                assert pull(jobs, sink) == 30
    assert (counted.connections, counted.execs) == (1, 2)
    shell.close()

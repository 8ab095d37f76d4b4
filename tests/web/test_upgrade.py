"""Creating and upgrading the database, on SQLite and on a real PostgreSQL."""

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster.parts import free_port, wait_until
from cluster.postgresql import PostgreSQL
from flask import Flask
from sqlalchemy import Connection, create_engine, text
from web.served import serve_somehow

from remoteweb import create_app, upgrade
from remoteweb.accounts import Account
from remoteweb.database import Base, db
from remoteweb.models import Counter, Job, Server, Source
from remoteweb.upgrade import UpgradeRefused, upgrade_database

pytestmark = pytest.mark.sqlite  # and of PostgreSQL: each has both already

ROOT = Path(__file__).parents[2]
START = (
    "from remoteweb import create_app; from remoteweb.upgrade import upgrade_database as u; u(create_app())"
)
# What would be the next version, in a folder beside a copy of ours.
NEXT = """
from alembic import op
revision, down_revision, branch_labels, depends_on = "0004", "0003", None, None
def upgrade():
    op.execute("CREATE TABLE extra (id INTEGER)")
    {more}
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that does not exist yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@contextlib.contextmanager
def app_on(address: str, migrations: Path | None = None) -> Iterator[Flask]:
    app = create_app({"SQLALCHEMY_DATABASE_URI": address})
    if migrations is not None:
        app.config["ALEMBIC"]["script_location"] = str(migrations)
    try:
        yield app
    finally:
        with app.app_context():
            db.engine.dispose()


def tables(address: str) -> set[str]:
    with app_on(address) as app, app.app_context(), db.engine.connect() as connection:
        return set(db.inspect(connection).get_table_names())


@pytest.fixture
def newer_migrations(tmp_path: Path) -> Callable[[str], Path]:
    def make(more: str) -> Path:
        folder = tmp_path / "newer"
        shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "0004_next.py").write_text(NEXT.format(more=more))
        return folder

    return make


def test_the_tables_that_migrations_make_are_those_of_the_models(address: str) -> None:
    with app_on(address) as app:
        upgrade_database(app)
        with app.app_context():
            differences = upgrade.alembic().compare_metadata()
    if address.startswith("sqlite"):
        # Indexes with an order cannot be read back from SQLite: the next test compares their text.
        differences = [one for one in differences if not str(one[0]).endswith("_index")]
    assert differences == []


def test_the_versions_are_told_by_the_names_of_the_files(app: Flask) -> None:
    with app.app_context():
        scripts = list(upgrade.alembic().script_directory.walk_revisions())
        assert [script.revision for script in reversed(scripts)] == upgrade.versions_here()


def test_the_indexes_that_migrations_make_on_sqlite_are_those_of_the_models(app: Flask) -> None:
    query = text(
        "SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE%INDEX%' AND name NOT LIKE 'job_search%'"
    )
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        wanted = connection.execute(query).all()
    engine.dispose()
    with app.app_context():
        made = db.session.execute(query).all()
    assert sorted(made, key=str) == sorted(wanted, key=str)
    assert "job_list" in dict(made)


BEFORE_ACCOUNTS = """
INSERT INTO server (id, "user", host, port, alias, key_files, lease_owner, lease_until, fence, min_interval, failures,
  not_before, needs_person, error) VALUES (7, 'me', 'alps.example.org', 22, 'alps', '', '', 0, 0, 10, 0, 0, '', '');
INSERT INTO source ({source}) VALUES ({source_values});
INSERT INTO job ({job}) VALUES ({job_values});
INSERT INTO entry (digest, kind, created_at, expires_at) VALUES ('{digest}', 'cookie', 1000, 99999999999);
INSERT INTO entry (digest, kind, created_at, expires_at) VALUES ('unused', 'link', 1000, 99999999999)
"""


def filled(table: str, connection: Connection, known: dict[str, object]) -> tuple[str, str]:
    """A row of an older version: of each column that has to be given, something."""
    values: dict[str, str] = {}
    for column in db.inspect(connection).get_columns(table):
        required = not column["nullable"] and column["default"] is None
        if column["name"] in known or required:
            is_text = "TEXT" in str(column["type"]).upper() or "CHAR" in str(column["type"]).upper()
            made = "FALSE" if "BOOL" in str(column["type"]).upper() else "''" if is_text else "0"
            values[f'"{column["name"]}"'] = str(known.get(column["name"], made))
    return ", ".join(values), ", ".join(values.values())


def test_what_was_there_before_there_were_accounts_belongs_to_the_first_one_and_its_browser_stays_in(
    address: str, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(ROOT / "migrations", older, ignore=shutil.ignore_patterns("__pycache__", "0003*"))
    cookie = "what the browser kept"
    with app_on(address, older) as app:
        upgrade_database(app)
        with app.app_context(), db.engine.begin() as connection:
            source, source_values = filled("source", connection, {"id": 8, "server_id": 7, "app": "'jobs'"})
            known = {"id": 9, "server_id": 7, "source_id": 8, "name": "'train'", "state": "'running'"}
            job, job_values = filled("job", connection, known)
            digest = hashlib.sha256(cookie.encode()).hexdigest()
            for statement in BEFORE_ACCOUNTS.format(**locals()).split(";"):
                connection.execute(text(statement))
    with app_on(address) as app:
        upgrade_database(app)
        browser = app.test_client()
        browser.set_cookie("remoteweb", cookie)
        assert browser.get("/account").status_code == 200
        assert "train" in browser.get("/").text
        with app.app_context():
            server, row = db.session.get_one(Server, 7), db.session.get_one(Job, 9)
            assert (server.owner_id, row.owner_id, row.source_id, row.source.app) == (1, 1, 8, "jobs")  # type: ignore[union-attr]
            account = db.session.get_one(Account, 1)
            assert (account.role, account.password, len(account.handle)) == ("administrator", "", 43)


def test_the_counters_begin_at_zero(address: str) -> None:
    with app_on(address) as app:
        upgrade_database(app)
        with app.app_context():
            counters = db.session.execute(db.select(Counter.name, Counter.value)).all()
    assert dict(map(tuple, counters)) == {"change.1": 0, "afresh.1": 0, "audit": 0}


def test_four_first_starts_at_once_make_one_whole_database(address: str, home: Path) -> None:
    environment = {**os.environ, "REMOTEWEB_SQLALCHEMY_DATABASE_URI": address, "PYTHONPATH": str(ROOT)}
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", START], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(4)
    ]
    answers = [start.communicate(timeout=60)[0].decode() for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0, 0], answers
    assert answers == ["", "", "", ""]
    assert {"job", "action", "alembic_version"} <= tables(address)


def test_four_upgrades_at_once_are_one(address: str, newer_migrations: Callable[[str], Path]) -> None:
    with app_on(address) as app:
        upgrade_database(app)
    newer = newer_migrations('op.execute("INSERT INTO extra VALUES (1)")')
    together = threading.Barrier(4)

    def start(app: Flask) -> None:
        together.wait(60)
        upgrade_database(app)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        # Made one after the other: Python 3.11 may fail where several threads parse at once, as Werkzeug's routes do.
        apps = [stack.enter_context(app_on(address, newer)) for _ in range(4)]
        for started in [pool.submit(start, app) for app in apps]:
            started.result(60)
    with app_on(address) as app, app.app_context():
        assert db.session.execute(text("SELECT id FROM extra")).all() == [(1,)]


def test_an_upgrade_while_a_page_is_served_stops_no_reader_and_no_tap(
    address: str,
    newer_migrations: Callable[[str], Path],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REMOTEWEB_SQLALCHEMY_DATABASE_URI", address)
    served = serve_somehow(home, free_port())
    statuses: list[int] = []
    over = threading.Event()
    try:
        cookie = served.enter(served.until_ready())

        def look() -> None:
            while not over.is_set():
                statuses.append(served.get("/", cookie).status)

        with ThreadPoolExecutor(2) as pool:
            looking = [pool.submit(look) for _ in range(2)]
            more = 'op.execute("ALTER TABLE job ADD COLUMN later TEXT"); import time; time.sleep(0.5)'
            with app_on(address, newer_migrations(more)) as app:
                upgrade_database(app)
            tap = served.post("/example", {"idem_key": "some-button"}, cookie)
            over.set()
            for one in looking:
                one.result(30)
    finally:
        served.end()
    assert (tap.status, set(statuses)) == (303, {200})
    assert "Traceback" not in served.err.read_text()


def test_an_upgrade_with_nothing_to_do_leaves_the_database_usable(address: str) -> None:
    with app_on(address) as app:
        upgrade_database(app)
        with app.app_context():
            upgrade_database(app)
            db.session.execute(db.update(Counter).values(value=7))
            db.session.commit()
    assert not list(Path(address.removeprefix("sqlite:///")).parent.glob("*.copy"))


def test_a_migration_that_fails_leaves_everything_as_it_was(
    address: str, newer_migrations: Callable[[str], Path]
) -> None:
    with app_on(address) as app:
        upgrade_database(app)
    before = tables(address)
    twice = newer_migrations('op.execute("CREATE TABLE extra (id INTEGER)")')
    with (
        app_on(address, twice) as app,
        pytest.raises(UpgradeRefused, match=r"cannot be used: .*extra.* already exists"),
    ):
        upgrade_database(app)
    assert tables(address) == before
    with app_on(address) as app:
        upgrade_database(app)


def test_an_upgrade_that_is_killed_leaves_everything_as_it_was(
    address: str, newer_migrations: Callable[[str], Path], tmp_path: Path
) -> None:
    with app_on(address) as app:
        upgrade_database(app)
    before, reached = tables(address), tmp_path / "reached"
    slow = newer_migrations(f"import pathlib, time; pathlib.Path({str(reached)!r}).touch(); time.sleep(60)")
    code = (
        "import sys; from remoteweb import create_app; from remoteweb.upgrade import upgrade_database as upgrade;"
        "app = create_app({'SQLALCHEMY_DATABASE_URI': sys.argv[1]});"
        "app.config['ALEMBIC']['script_location'] = sys.argv[2]; upgrade(app)"
    )
    with subprocess.Popen([sys.executable, "-c", code, address, str(slow)], cwd=ROOT) as upgrading:
        wait_until(reached.exists, "the migration has begun")
        upgrading.kill()
    assert upgrading.returncode == -9
    with app_on(address) as app:
        upgrade_database(app)  # no lock is left
    assert tables(address) == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    address: str, newer_migrations: Callable[[str], Path]
) -> None:
    with app_on(address, newer_migrations("pass")) as app:
        upgrade_database(app)
    before = tables(address)
    with app_on(address) as app, pytest.raises(UpgradeRefused, match="was made by a newer remoteweb"):
        upgrade_database(app)
    assert tables(address) == before
    assert "extra" in before


def test_a_copy_is_made_before_an_upgrade_and_the_last_three_are_kept(
    tmp_path: Path, newer_migrations: Callable[[str], Path]
) -> None:
    path = tmp_path / "jobs.sqlite"
    with app_on(f"sqlite:///{path}") as app:
        upgrade_database(app)
        with app.app_context():
            db.session.execute(db.update(Counter).values(value=42))
            db.session.commit()  # so far in the WAL alone
    older = [tmp_path / f"jobs.sqlite.0000.2020010{day}T000000Z.copy" for day in (1, 2, 3)]
    for number, file in enumerate(older):
        file.touch()
        os.utime(file, (1_000_000 + number, 1_000_000 + number))
    with app_on(f"sqlite:///{path}", newer_migrations("pass")) as app:
        upgrade_database(app)
    copies = sorted(tmp_path.glob("*.copy"))
    assert copies[:2] == older[1:]
    assert len(copies) == 3
    assert re.fullmatch(r"jobs\.sqlite\.0003\.[0-9]{8}T[0-9]{6}Z\.copy", copies[2].name)
    assert stat.S_IMODE(copies[2].stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(copies[2])) as copy:
        assert copy.execute("SELECT value FROM counter").fetchall() == [(42,)] * 3
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchone() is None


def test_the_file_is_its_owners_alone_and_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    before = os.umask(0)
    try:
        with app_on(f"sqlite:///{path}") as app:
            upgrade_database(app)
            with app.app_context(), db.engine.connect() as connection:
                assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
                modes = {
                    file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("jobs.sqlite*")
                }
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes
    assert "jobs.sqlite-wal" in modes


def test_a_file_that_two_users_share_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.touch(mode=0o660)
    path.chmod(0o660)
    with app_on(f"sqlite:///{path}") as app:
        upgrade_database(app)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_in_a_folder_of_a_group_all_that_is_made_is_the_groups(
    tmp_path: Path, newer_migrations: Callable[[str], Path]
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2770)
    before = os.umask(0o077)  # alone it would lock the other user out
    try:
        for migrations in (None, newer_migrations("pass")):
            with app_on(f"sqlite:///{folder}/jobs.sqlite", migrations) as app:
                upgrade_database(app)
                with app.app_context(), db.engine.connect() as connection:
                    assert connection.scalar(text("SELECT count(*) FROM counter"))
                    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o660}, modes
    assert {"jobs.sqlite", "jobs.sqlite.lock", "jobs.sqlite-wal", "jobs.sqlite-shm"} < set(modes)
    assert any(name.endswith(".copy") for name in modes)


def foreign_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (id INTEGER)")


REFUSED_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another program's": (foreign_database, "is the database of another program"),
    "no database": (lambda path: path.write_bytes(b"\x89PNG\r\n" * 999), "file is not a database"),
    "a folder": (lambda path: path.mkdir(), "cannot be used"),
    "in no folder": (lambda path: path.parent.rmdir(), "No such file or directory"),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_what_is_not_our_database_is_refused_with_a_sentence_and_not_touched(
    case: str, tmp_path: Path
) -> None:
    make, sentence = REFUSED_FILES[case]
    path = tmp_path / "folder" / "jobs.sqlite"
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with app_on(f"sqlite:///{path}") as app, pytest.raises(UpgradeRefused, match=sentence) as refusal:
        upgrade_database(app)
    assert str(path) in str(refusal.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_running_upgrade_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "LOCK_SECONDS", 0.2)
    lock = tmp_path / "jobs.sqlite.lock"
    with app_on(f"sqlite:///{tmp_path}/jobs.sqlite") as app, upgrade._locked(lock):
        with pytest.raises(UpgradeRefused, match="Another process has been upgrading the database"):
            upgrade_database(app)
        assert not (tmp_path / "jobs.sqlite").exists()


def test_a_running_upgrade_of_a_postgresql_is_waited_for_and_then_named(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "LOCK_SECONDS", 0.2)
    address = postgresql.new_database()
    with app_on(address) as app, app.app_context(), db.engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_lock({upgrade.ADVISORY_LOCK})"))
        with pytest.raises(UpgradeRefused, match="Another process has been upgrading the database"):
            upgrade_database(app)
    assert tables(address) == set()


def test_a_postgresql_that_does_not_answer_is_a_sentence_without_the_password(
    postgresql: object, tmp_path: Path
) -> None:
    address = f"postgresql://me:canary@/jobs?host={tmp_path}"
    with app_on(address) as app, pytest.raises(UpgradeRefused, match="cannot be used: connection") as refusal:
        upgrade_database(app)
    assert "canary" not in str(refusal.value)


def test_the_search_index_follows_every_change_of_a_job(app: Flask) -> None:
    def found(word: str) -> list[int]:
        query = text("SELECT rowid FROM job_search WHERE job_search MATCH :word ORDER BY rowid")
        return list(db.session.scalars(query, {"word": f'"{word}"'}))

    with app.app_context():
        server = Server(user="", host="", port=0)
        source = Source(server=server, app="jobs")
        db.session.add(source)
        db.session.flush()
        common = {"server_id": server.id, "source_id": source.id, "state": "done", "evidence": "queue"}
        db.session.add(Job(id=1, name="train-resnet", scheduler_id="4711", **common))
        db.session.add(Job(id=2, name="Größe %_ \"'", scheduler_id="", **common))
        db.session.commit()
        assert (found("resnet"), found("471"), found("größe"), found('%_ ""')) == ([1], [1], [2], [2])
        db.session.execute(db.update(Job).where(Job.id == 1).values(name="fit-resnet", state="failed"))
        assert (found("train"), found("fit-res")) == ([], [1])
        db.session.execute(db.update(Job).where(Job.id == 1).values(scheduler_id="9999", revision=2))
        assert (found("471"), found("999"), found("resnet")) == ([], [1], [1])
        db.session.execute(db.delete(Server))  # as a source that is forgotten: by the foreign keys
        assert (found("resnet"), found("999"), found("größe")) == ([], [], [])
        db.session.execute(text("INSERT INTO job_search (job_search) VALUES ('integrity-check')"))


def test_postgresql_searches_by_an_index_where_it_may(postgresql: PostgreSQL) -> None:
    with app_on(postgresql.new_database()) as app:
        upgrade_database(app)
        with app.app_context():
            indexes = {index["name"] for index in db.inspect(db.engine).get_indexes("job")}
    assert {"job_search_name", "job_search_trigram"} <= indexes


def test_postgresql_without_the_extension_still_gets_its_tables(postgresql: PostgreSQL) -> None:
    address = postgresql.new_database()
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    name = f"plain_{engine.url.database}"
    with engine.begin() as connection:  # a role that may make tables, but no extension
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
        connection.execute(text(f"GRANT ALL ON SCHEMA public TO {name}"))
    engine.dispose()
    with app_on(address.replace("//remoteweb@", f"//{name}@")) as app:
        upgrade_database(app)
        with app.app_context():
            indexes = {index["name"] for index in db.inspect(db.engine).get_indexes("job")}
    assert "job_search_name" in indexes
    assert "job_search_trigram" not in indexes

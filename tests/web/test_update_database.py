"""`update-database` from a terminal and from cron: what it prints, what it asks, and how it ends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from cluster.parts import need_network
from cluster.sshd import Sshd
from flask import Flask
from sqlalchemy.exc import DBAPIError
from web.stored import address, is_whole, rows, write
from web.syncing import APP, Registry, again, ask, job, submit
from web.terminals import Terminal, begin, interrupt, run

from remoteweb import sources
from remoteweb.database import db, shown
from remoteweb.models import Job, Server

HASH = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def database(home: Path) -> Path:
    return home / ".local" / "state" / "remoteweb" / "remoteweb.sqlite"


def no_interval() -> None:
    """Whoever syncs again at once need not wait."""
    write("UPDATE server SET min_interval = 0")


@pytest.fixture
def invoke(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, for what needs neither a terminal nor an end of the process; no intervals."""
    monkeypatch.setattr(sources, "LOCAL_MIN_INTERVAL", 0.0)
    return lambda *arguments: app.test_cli_runner().invoke(args=["update-database", *arguments])


@pytest.fixture
def keys(sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    """The person's own ~/.ssh, with a key that lets in and the right host key."""
    monkeypatch.setenv("REMOTEWEB_MIN_INTERVAL", "1")
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(sshd.key, folder / "id_ed25519")
    (folder / "id_ed25519").chmod(0o600)
    shutil.copy(sshd.known_hosts, folder / "known_hosts")
    shutil.rmtree(sshd.home / f".{APP}", ignore_errors=True)
    return sshd


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that accepts connections and never says a word."""
    need_network()
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.usefixtures("empty_database")
def test_without_arguments_it_syncs_this_machine(home: Path) -> None:
    submit("exit 0", name="first")
    ended = run("update-database")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("this machine: 1 job, 1 changed, ") and ended.stdout.endswith(" s\n")
    assert rows("SELECT name FROM job") == [("first",)]


@pytest.mark.parametrize(
    ("flags", "out"),
    [
        ([], "Every source is paused, so nothing was synced. Resume one on the page Servers, or name it.\n"),
        (["--quiet"], ""),
        (["--json"], "[]\n"),
        (["--dry-run"], "Nothing would be sent.\n"),
    ],
)
def test_a_paused_source_is_not_synced_unless_it_is_named(
    app: Flask, invoke: Callable[..., Result], flags: list[str], out: str
) -> None:
    key = submit("exit 0")
    with app.app_context():
        sources.set_paused(sources.source_here().id, True)
    ended = invoke(*flags)
    assert (ended.exit_code, ended.stdout) == (0, out)
    with app.app_context():
        assert job_count() == 0
    assert invoke(APP).exit_code == 0
    with app.app_context():
        assert job(key).state


def job_count() -> int:
    return db.session.scalar(db.select(db.func.count()).select_from(Job)) or 0


@pytest.mark.usefixtures("empty_database")
@pytest.mark.sqlite
def test_flask_has_the_same_command(home: Path) -> None:
    import subprocess
    import sys

    from web.terminals import ROOT, environment

    ended = subprocess.run(
        [sys.executable, "-m", "flask", "update-database"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("this machine: 0 jobs")


def test_results_as_json_are_one_document(invoke: Callable[..., Result]) -> None:
    submit("exit 0")
    (result,) = json.loads(invoke("--json").stdout)
    assert (result["server"], result["app"], result["jobs"], result["exit_code"]) == (
        "this machine",
        APP,
        1,
        0,
    )


def test_quiet_is_quiet(invoke: Callable[..., Result]) -> None:
    ended = invoke("--quiet")
    assert (ended.exit_code, ended.output) == (0, "")


@pytest.mark.sqlite
def test_verbose_says_which_database_is_used() -> None:
    assert f"Database: {shown(address())}\n" in run("update-database", "-v").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["../etc"], "cannot be the name of an app"),
        (["-x", "alps"], "No such option"),
        ([APP, "alps; touch x"], "is not a server"),
        ([APP, "alps:99999"], "a port is a number"),
        ([APP, "me:secret@alps"], "a password does not belong"),
        ([APP, "alps", "more"], "unexpected extra argument"),
        ([APP, "alps", "--password", "x"], "No such option"),
        ([APP, "alps", "--timeout", "0"], "--timeout"),
    ],
)
def test_wrong_usage_gets_a_sentence_and_exit_status_2(
    invoke: Callable[..., Result], arguments: list[str], words: str
) -> None:
    ended = invoke(*arguments)
    assert ended.exit_code == 2 and words in ended.stderr
    assert ended.stdout == "" and "secret" not in ended.stderr


def test_a_server_is_one_connection_and_one_command(keys: Sshd) -> None:
    with keys.counting() as counted:
        ended = run("update-database", APP, keys.destination)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("127.0.0.1: 0 jobs, 0 changed, ")
    assert (counted.connections, counted.execs) == (1, 1)
    assert rows("SELECT app FROM source") == [(APP,)]


def test_an_alias_is_resolved_once_and_kept(keys: Sshd, home: Path) -> None:
    config = home / ".ssh" / "config"
    key = (home / ".ssh" / "id_ed25519").rename(home / ".ssh" / "of_alps")
    config.write_text(
        f"Host alps\n HostName {keys.host}\n Port {keys.port}\n User {keys.user}\n IdentityFile {key}\n"
    )
    assert run("update-database", APP, "alps").stdout.startswith("alps: 0 jobs")
    config.write_text("Host alps\n HostName 127.0.0.9\n")
    ended = run("update-database", APP, "alps")
    assert ended.returncode == 0, "the name means what it meant when it was added"
    assert rows('SELECT alias, host, port, "user", key_files FROM server') == [
        ("alps", keys.host, keys.port, keys.user, f'["{key}"]')
    ]


def test_an_alias_brings_its_key_to_a_login_that_was_known_without_it(keys: Sshd, home: Path) -> None:
    key = (home / ".ssh" / "id_ed25519").rename(home / ".ssh" / "of_alps")
    given = f"{keys.password}\n"
    assert run("update-database", APP, keys.destination, "--password-stdin", given=given).returncode == 0
    no_interval()
    assert run("update-database").returncode == 3, "no key is known, and nobody is there to type a password"
    (home / ".ssh" / "config").write_text(
        f"Host alps\n HostName {keys.host}\n Port {keys.port}\n User {keys.user}\n IdentityFile {key}\n"
    )
    no_interval()
    ended = run("update-database", APP, "alps")
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.startswith("alps: ")
    assert rows("SELECT alias, key_files FROM server") == [("alps", f'["{key}"]')]


def test_a_second_alias_adds_its_key_and_leaves_the_first_name(app: Flask) -> None:
    with app.app_context():
        at = sources.server("me", "alps.example.org", 22, alias="alps", key_files=["/k/old"])
        again = sources.server("me", "alps.example.org", 22, alias="alps2", key_files=["/k/new", "/k/old"])
        assert (again.id, again.alias, again.key_files) == (at.id, "alps", '["/k/new","/k/old"]')
        same = sources.server("me", "alps.example.org", 22)
        assert (same.alias, same.key_files) == ("alps", '["/k/new","/k/old"]'), "nothing is taken away"


@pytest.mark.parametrize(
    ("logins", "labels"),
    [
        ([("me", "h", 22, "")], ["h"]),
        ([("me", "h", 22, ""), ("you", "h", 22, "")], ["me@h", "you@h"]),
        ([("me", "h", 22, ""), ("me", "h", 2222, "")], ["h:22", "h:2222"]),
        ([("me", "::1", 22, ""), ("you", "::1", 2222, "")], ["me@[::1]:22", "you@[::1]:2222"]),
        ([("me", "h", 22, ""), ("you", "h", 22, "alps"), ("me", "g", 22, "")], ["h", "alps", "g"]),
        ([("me", "h", 22, "alps"), ("you", "g", 22, "alps")], ["me@alps", "you@alps"]),
        ([("", "", 0, ""), ("me", "h", 22, "")], ["this machine", "h"]),
    ],
)
def test_no_two_servers_look_alike(
    app: Flask, logins: list[tuple[str, str, int, str]], labels: list[str]
) -> None:
    with app.app_context():
        for user, host, port, alias in logins:
            sources.server(user, host, port, alias=alias)
        assert [one.label for one in db.session.scalars(db.select(Server).order_by(Server.id))] == labels


def test_a_complaint_names_its_server_once(keys: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    ended = run("update-database", APP, keys.destination)
    assert ended.returncode == 3 and ended.stderr.startswith(f"Error: {keys.host} did not let us in")
    (home / ".ssh" / "config").write_text(f"Host alps\n HostName {keys.host}\n Port {keys.port}\n User me\n")
    ended = run("update-database", APP, "alps")
    assert ended.stderr.startswith(f"Error: alps: {keys.host} did not let us in"), (
        "as it was typed, and what it is"
    )


@pytest.mark.sqlite
def test_a_config_that_runs_commands_is_refused(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text(f"Match exec 'touch {home}/PWNED'\n User x\n")
    ended = run("update-database", APP, "alps")
    assert ended.returncode == 3 and "Match exec" in ended.stderr
    assert not (home / "PWNED").exists()


@pytest.mark.sqlite
def test_an_unknown_host_key_is_refused_where_nobody_can_be_asked(keys: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    ended = run("update-database", APP, keys.destination)
    assert ended.returncode == 3 and "SHA256:" in ended.stderr and ended.stdout == ""
    assert rows("SELECT * FROM source UNION ALL SELECT * FROM source") == []
    assert rows("SELECT id FROM server") == [], "what never answered is not known"


def test_under_cron_a_refused_login_ends_with_3_and_is_not_repeated_each_time(keys: Sshd, home: Path) -> None:
    assert run("update-database", APP, keys.destination).returncode == 0
    (home / ".ssh" / "id_ed25519").unlink()
    no_interval()
    first = run("update-database")
    assert first.returncode == 3 and "did not let us in" in first.stderr
    with keys.counting() as counted:
        second = run("update-database")
    assert second.returncode == 3 and "Not tried again for" in second.stderr
    assert counted.connections == 0
    assert rows("SELECT needs_person != '' FROM server") == [(1,)]


@pytest.mark.sqlite
def test_a_password_may_come_on_standard_input(keys: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    ended = run("update-database", APP, keys.destination, "--password-stdin", given=f"{keys.password}\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    left = [path.read_bytes() for path in (home / ".local").rglob("*") if path.is_file()]
    assert not any(keys.password.encode() in content for content in left)


@pytest.mark.sqlite
def test_a_wrong_password_is_tried_once(keys: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    with keys.counting() as counted:
        ended = run("update-database", APP, keys.destination, "--password-stdin", given="wrong\n")
    assert ended.returncode == 3 and "wrong" not in ended.stderr
    assert counted.connections == 1


@pytest.mark.sqlite
def test_a_port_that_nobody_listens_on_is_unreachable(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = run("update-database", APP, f"me@127.0.0.1:{port}")
    assert ended.returncode == 4 and ended.stderr.count("\n") == 1
    assert rows("SELECT id FROM server") == []


@pytest.mark.sqlite
def test_a_server_that_never_answers_is_left_in_time(home: Path, silent: int) -> None:
    began = time.monotonic()
    ended = run("update-database", APP, f"me@127.0.0.1:{silent}", "--timeout", "2")
    assert ended.returncode == 4 and "Traceback" not in ended.stderr
    assert time.monotonic() - began < 12


def wait_for_lease() -> None:
    until = time.monotonic() + 20
    while True:
        with contextlib.suppress(DBAPIError):  # there is no table yet
            if rows("SELECT 1 FROM server WHERE lease_owner != ''"):
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_second_sync_of_a_server_ends_with_75_and_ctrl_c_with_130(home: Path, silent: int) -> None:
    first = begin("update-database", APP, f"me@127.0.0.1:{silent}")
    wait_for_lease()
    second = run("update-database", APP, f"me@127.0.0.1:{silent}")
    assert second.returncode == 75 and f"process {first.pid} on " in second.stderr
    code, out, err = interrupt(first)
    assert (code, out) == (130, "") and "Interrupted." in err and "Traceback" not in err
    assert is_whole()
    assert rows("SELECT 1 FROM server WHERE lease_owner != ''") == []


def test_a_killed_sync_stands_in_nobodys_way(home: Path, silent: int) -> None:
    first = begin("update-database", APP, f"me@127.0.0.1:{silent}")
    wait_for_lease()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=30)
    write("UPDATE server SET min_interval = 0")
    second = run("update-database", APP, f"me@127.0.0.1:{silent}", "--timeout", "2")
    assert second.returncode == 4, "it got as far as the server"
    assert is_whole()


def test_with_several_sources_one_failure_is_1(invoke: Callable[..., Result], home: Path) -> None:
    for app in ("one", "two"):
        submit("exit 0", app=app)
        assert invoke(app).exit_code == 0
    assert invoke().exit_code == 0
    (home / ".one" / "version").write_text("remotejobs 99\n")
    ended = invoke()
    assert ended.exit_code == 1
    assert "this machine one: ~/.one on this machine was written by a newer version" in ended.stderr
    assert ended.stdout.startswith("this machine two: 1 job, ")


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(
    app: Flask, invoke: Callable[..., Result]
) -> None:
    key = submit("sleep 30", name="long \x1b[31m job")
    invoke()
    with app.app_context():
        action = ask(job(key), "cancel")
        pid = action.job.scheduler_id if action.job else ""
    ended = invoke("--dry-run")
    assert (ended.exit_code, ended.stdout) == (0, f"this machine: would cancel long \ufffd[31m job ({pid})\n")
    (planned,) = json.loads(invoke("--dry-run", "--json").stdout)
    assert (planned["action"], planned["key"]) == ("cancel", key)
    with app.app_context():
        assert (again(action).state, action.tries) == ("waiting", 0)
    assert "1 cancelled" in invoke().stdout
    assert invoke("--dry-run").stdout == "Nothing would be sent.\n"


def test_a_database_of_a_newer_version_is_refused(home: Path) -> None:
    run("update-database")
    write("UPDATE alembic_version SET version_num = 'fromthefuture'")
    ended = run("update-database")
    assert ended.returncode == 1 and "newer remoteweb" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.sqlite
def test_a_database_that_cannot_be_used_gets_a_sentence(home: Path, database: Path) -> None:
    run("update-database")
    database.write_bytes(b"this is no database" * 1000)
    ended = run("update-database")
    assert ended.returncode == 1 and "cannot be used" in ended.stderr and "Traceback" not in ended.stderr


def test_on_a_terminal_it_asks_about_the_key_and_keeps_it(keys: Sshd, home: Path, database: Path) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    terminal = Terminal("update-database", APP, keys.destination)
    terminal.expect("Accept this key for good? (yes/no) [no]:")
    assert "SHA256:" in terminal.shown
    terminal.type("yes\n")
    assert terminal.end() == 0, terminal.shown
    assert "127.0.0.1: 0 jobs" in terminal.shown
    assert rows("SELECT type || ' ' || key, accepted_by, owner_id FROM host_key") == [
        (keys.host_key, "admin", 1)
    ]
    assert rows("SELECT what, detail FROM audit") == [
        ("accepted a host key", "on a terminal"),
        ("added the source", "on 127.0.0.1"),
    ]
    assert not (database.parent / "known_hosts").exists()
    no_interval()
    assert run("update-database").returncode == 0, "from now on cron knows it too"


@pytest.mark.sqlite
@pytest.mark.parametrize("answer", ["no\n", "\n", "y\n"])
def test_a_key_that_was_not_accepted_by_a_whole_yes_is_refused(keys: Sshd, home: Path, answer: str) -> None:
    (home / ".ssh" / "known_hosts").unlink()
    terminal = Terminal("update-database", APP, keys.destination)
    terminal.expect("(yes/no) [no]:")
    terminal.type(answer)
    assert terminal.end() == 3


@pytest.mark.sqlite
def test_on_a_terminal_it_asks_for_name_and_password_after_the_keys_were_refused(
    keys: Sshd, home: Path
) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    terminal = Terminal("update-database", APP, f"nobody@{keys.host}:{keys.port}")
    terminal.expect("User name [nobody]:")
    terminal.type(f"{keys.user}\n")
    terminal.expect(f"Password of {keys.user}:")
    terminal.type(f"{keys.password}\n")
    assert terminal.end() == 0, terminal.shown
    assert keys.password not in terminal.shown
    assert rows('SELECT "user", needs_person FROM server') == [(keys.user, "")]
    left = [path.read_bytes() for path in (home / ".local").rglob("*") if path.is_file()]
    assert not any(keys.password.encode() in content for content in left)


@pytest.mark.sqlite
def test_of_a_known_login_only_the_password_is_asked(keys: Sshd, home: Path) -> None:
    assert run("update-database", APP, keys.destination).returncode == 0
    (home / ".ssh" / "id_ed25519").unlink()
    no_interval()
    terminal = Terminal("update-database")
    terminal.expect(f"Password of {keys.user}:")
    terminal.type(f"{keys.password}\n")
    assert terminal.end() == 0, terminal.shown
    assert "User name" not in terminal.shown


def test_what_a_person_typed_something_for_is_not_tried_without_one(keys: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").unlink()
    terminal = Terminal("update-database", APP, keys.destination)
    terminal.expect("User name")
    terminal.type("\n")
    terminal.expect("Password of")
    terminal.type(f"{keys.password}\n")
    assert terminal.end() == 0, terminal.shown
    no_interval()
    with keys.counting() as counted:
        ended = run("update-database")
    assert ended.returncode == 3 and "Sign in on the page Servers" in ended.stderr
    assert counted.connections == 0, "a refused login counts towards a ban"
    shutil.copy(keys.key, home / ".ssh" / "id_ed25519")
    terminal = Terminal("update-database")
    assert terminal.end() == 0, terminal.shown
    no_interval()
    assert run("update-database").returncode == 0, "a key lets in now"


def test_a_folder_that_is_not_there_yet_is_said(invoke: Callable[..., Result], home: Path) -> None:
    assert "no folder ~/.nothing-yet there" in invoke("nothing-yet").stdout
    assert not (home / ".nothing-yet").exists()


@pytest.mark.sqlite
def test_keys_that_let_in_are_not_asked_about(keys: Sshd) -> None:
    terminal = Terminal("update-database", APP, keys.destination)
    assert terminal.end() == 0
    assert "Password" not in terminal.shown and "User name" not in terminal.shown


@pytest.mark.sqlite
def test_ctrl_c_at_a_question_is_130_and_the_end_of_input_3(keys: Sshd, home: Path) -> None:
    assert run("update-database").returncode == 0
    (home / ".ssh" / "id_ed25519").unlink()
    for typed, code in (("\x03", 130), ("\x04", 3)):
        no_interval()
        terminal = Terminal("update-database", APP, keys.destination)
        terminal.expect("User name")
        assert terminal.end(typed) == code, terminal.shown
        assert "Traceback" not in terminal.shown and is_whole()


@pytest.mark.sqlite
def test_a_terminal_sees_the_progress_and_a_pipe_does_not(home: Path) -> None:
    registry = Registry(home)
    for number in range(1, 1501):
        registry.settings(f"{number:032x}_1", name=f"job {number}")
    terminal = Terminal("update-database")
    assert terminal.end() == 0
    assert "100%" in terminal.shown and "this machine: 1,500 jobs, 1,500 changed" in terminal.shown
    no_interval()
    assert run("update-database").stderr == ""

"""`remoteweb web`: the pages alone, on a unix socket, as on a VPS."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster.parts import base_folder, free_port, need, wait_until
from web.served import ROOT, ServedApart, UnixConnection
from web.stored import is_whole, rows
from web.terminals import begin, interrupt, run

PUBLIC = "jobs.example.org"


@pytest.fixture
def apart(empty_database: None, tmp_path: Path) -> Iterator[ServedApart]:
    served = ServedApart(tmp_path, free_port())
    yield served
    served.end()


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTEWEB_PUBLIC_URL", f"https://{PUBLIC}")
    monkeypatch.setenv("REMOTEWEB_TRUSTED_PROXIES", "1")


def test_it_answers_on_the_socket_alone_and_leaves_nothing_behind(apart: ServedApart, home: Path) -> None:
    cookie = apart.enter(apart.until_ready())
    assert "Nobody can sign in yet: `remoteweb create-user NAME`" in apart.out.read_text()
    assert apart.get("/", cookie).status == 200
    assert apart.get("/").status == 401
    assert stat.S_IMODE(apart.path.stat().st_mode) == 0o660
    processes = [psutil.Process(apart.process.pid), *apart.workers()]
    assert [one for process in processes for one in process.net_connections("inet")] == []
    apart.process.send_signal(signal.SIGTERM)
    assert apart.process.wait(10) == 0
    assert not apart.path.exists() and is_whole()
    assert apart.err.read_text() == ""


def test_a_socket_that_a_killed_one_left_is_taken_and_one_that_is_served_is_not(
    apart: ServedApart, public: None
) -> None:
    apart.until_ready()
    second = run("web", "--socket", str(apart.path))
    assert second.returncode == 1
    assert second.stderr == f"Error: The socket {apart.path} cannot be served: Address already in use.\n"
    os.killpg(apart.process.pid, signal.SIGKILL)
    apart.process.wait()
    third = apart._start(["web", "--socket", str(apart.path)], apart.folder, apart.settings)
    try:
        wait_until(lambda: apart.out.read_text().count("Serves") == 2, "serving again")
        assert apart.get("/healthz").status == 200
    finally:
        os.killpg(third.pid, signal.SIGTERM)
        third.wait(10)


def test_what_lies_at_the_place_of_the_socket_and_is_none_stays(public: None, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("letters")
    done = run("web", "--socket", str(tmp_path / "precious"))
    assert done.returncode == 1 and "Address already in use" in done.stderr
    assert (tmp_path / "precious").read_text() == "letters"


def test_it_answers_on_the_socket_that_systemd_hands_over_and_leaves_it_there(
    apart: ServedApart, public: None, tmp_path: Path
) -> None:
    need("socket activation", "systemd-socket-activate")
    path = apart.folder / "handed"
    names = ("PATH", "HOME", "XDG_STATE_HOME", "REMOTEWEB_PUBLIC_URL", "REMOTEWEB_TRUSTED_PROXIES")
    names += ("REMOTEWEB_SQLALCHEMY_DATABASE_URI",)
    given = [f"--setenv={name}={os.environ[name]}" for name in names if name in os.environ]
    command = [sys.executable, "-m", "remoteweb", "web"]
    with (tmp_path / "handed.log").open("wb") as log:
        process = subprocess.Popen(
            ["systemd-socket-activate", f"--listen={path}", *given, f"--setenv=PYTHONPATH={ROOT}", *command],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
        )
    try:
        wait_until(path.exists, "the socket")
        connection = UnixConnection(path, PUBLIC, timeout=30)
        connection.request("GET", "/healthz", headers={"X-Forwarded-Proto": "https"})
        assert connection.getresponse().read() == b"ok\n", (tmp_path / "handed.log").read_text()
        connection.close()
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert path.is_socket()


@pytest.mark.parametrize(
    ("command", "told"),
    [(["web", "--socket", "socket"], {"READY=1"}), (["sync-worker"], {"READY=1", "WATCHDOG=1"})],
)
def test_systemd_is_told_when_it_is_ready_and_that_the_worker_lives(
    command: list[str], told: set[str], public: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with base_folder("notify") as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        process = begin(*command)
        try:
            heard: set[str] = set()
            while not told <= heard:
                heard |= set(systemd.recv(4096).decode().splitlines())
        finally:
            interrupt(process)


def test_a_network_socket_that_is_handed_over_is_refused(public: None, tmp_path: Path) -> None:
    code = f"""
        import os, socket
        one = socket.create_server(("127.0.0.1", 0))
        os.dup2(one.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "remoteweb", "web"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and "systemd has to hand over a unix socket" in done.stderr


WEAK = {
    "no public address": (
        {"REMOTEWEB_PUBLIC_URL": ""},
        "REMOTEWEB_PUBLIC_URL has to say under which address",
    ),
    "no proxy": ({"REMOTEWEB_TRUSTED_PROXIES": "0"}, "REMOTEWEB_TRUSTED_PROXIES has to say how many"),
    "debug mode": ({"FLASK_DEBUG": "1"}, "Debug mode lets whoever reaches the page run commands here"),
    "a short secret": ({"REMOTEWEB_SECRET_KEY": "x" * 31}, "REMOTEWEB_SECRET_KEY has to be at least 32"),
}


@pytest.mark.parametrize("case", WEAK)
def test_a_weak_setting_stops_the_start_with_a_sentence(
    case: str, public: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings, sentence = WEAK[case]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    done = run("web", "--socket", str(tmp_path / "socket"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and sentence in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "socket").exists()


def test_without_a_socket_it_says_that_it_needs_one(public: None) -> None:
    done = run("web")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--socket has to name one" in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["web", "--socket", "socket"], ["sync-worker"]])
@pytest.mark.sqlite
def test_a_database_that_everybody_can_reach_stops_the_start(
    command: list[str], public: None, home: Path
) -> None:
    assert run("sources").returncode == 0
    path = home / ".local/state/remoteweb/remoteweb.sqlite"
    path.chmod(0o644)
    done = run(*command)
    assert done.returncode == 1
    assert (
        done.stderr == f"Error: Everybody on this machine can reach the database {path}: chmod o= {path}*\n"
    )


@pytest.mark.parametrize("where", ["--host=192.0.2.1", "REMOTEWEB_ALLOWED_HOSTS", "REMOTEWEB_PUBLIC_URL"])
def test_flask_run_serves_nobody_else_in_debug_mode(
    where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [where] if where.startswith("--") else []
    if not arguments:
        monkeypatch.setenv(where, f"https://{PUBLIC}" if where.endswith("URL") else PUBLIC)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--debug", f"--port={free_port()}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Error: Debug mode lets whoever reaches the page run commands here" in done.stderr


# Every page that a browser can look at, asked for in a process that is then asked what it has loaded.
EVERY_PAGE = """
    import sys
    from remoteweb import access, create_app
    from remoteweb.upgrade import upgrade_database

    app = create_app()
    upgrade_database(app)
    client = app.test_client()

    with app.test_request_context():
        urls = app.url_map.bind("localhost")
        asked = []
        for rule in app.url_map.iter_rules():
            values = {name: 1 if "Integer" in type(one).__name__ else "x" for name, one in rule._converters.items()}
            asked += [(urls.build(rule.endpoint, values, one), one, rule.endpoint) for one in rule.methods & {"GET", "POST"}]
    for url, method, endpoint in asked:
        with app.app_context():
            client.get(access.new_link("http://localhost"))  # anew: some of them sign out
        answer = client.open(url, method=method, headers={"Sec-Fetch-Site": "same-origin"})
        answer.close()
        print(endpoint, answer.status_code)
    print("loaded:", *sys.modules)
"""


def test_no_page_loads_what_connects_to_a_server(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EVERY_PAGE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "jobs.index 200" in done.stdout.splitlines()
    assert {"remoteweb.jobs.listing", "remoteweb.sync.queries"} <= loaded
    assert {"paramiko", "fabric", "invoke"} & loaded == set()


def test_a_tap_on_the_socket_is_carried_out_by_the_worker(apart: ServedApart) -> None:
    cookie = apart.enter(apart.until_ready())
    assert apart.post("/example", {"idem_key": "some-button"}, cookie).status == 303
    wait_until(lambda: rows("SELECT state FROM action")[0][0] == "done", "the example was submitted", 40)

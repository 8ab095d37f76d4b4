"""`remoteweb serve`, as a person starts and ends it: a process of its own, over real sockets."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from cluster.parts import free_port, need_network, wait_until
from web.served import Served
from web.stored import address, is_whole, rows
from web.terminals import run

from remoteweb import create_app, sources
from remoteweb.database import db, shown
from remoteweb.models import Source
from remoteweb.sync import requests


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[int], Served]]:
    need_network()
    started = []

    def start(port: int) -> Served:
        folder = tmp_path / f"served{len(started)}"
        folder.mkdir()
        started.append(Served(folder, port))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.mark.usefixtures("empty_database")
def test_it_prints_one_block_and_the_link_lets_a_browser_in_once(
    serve: Callable[[int], Served], home: Path
) -> None:
    served = serve(free_port())
    link = served.until_ready()
    cookie = served.enter(link)
    assert served.get("/", cookie).status == 200
    assert served.get("/").status == 401
    assert served.get("/" + link.partition(f":{served.port}/")[2]).status == 401
    lines = served.out.read_text().splitlines()
    assert lines[0].startswith("remoteweb ")
    assert lines[1].split() == ["Database", shown(address())]
    assert lines[2].split() == ["Open", link]
    assert len(lines) == 4
    assert served.err.read_text() == ""  # in particular no log with the token in it


@pytest.mark.sqlite
def test_it_answers_on_both_loopback_addresses_and_on_no_other(serve: Callable[[int], Served]) -> None:
    served = serve(free_port())
    served.until_ready()
    wanted = {"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"}
    listening = {
        one.laddr.ip
        for one in psutil.Process(served.process.pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == wanted
    for one in wanted:
        assert served.get("/", address=one).status == 401


@pytest.mark.sqlite
def test_link_is_of_the_port_that_is_served(serve: Callable[[int], Served], home: Path) -> None:
    assert run("link").stdout.startswith("http://localhost:8000/enter/"), "nothing is served yet"
    first = serve(free_port())
    first.until_ready()
    link = run("link")
    assert link.stderr == "" and first.get("/", first.enter(link.stdout.strip())).status == 200
    assert run("link", "--port", "8001").stdout.startswith("http://localhost:8001/enter/")
    second = serve(free_port())
    second.until_ready()
    assert run("link").stdout.startswith(f"http://localhost:{second.port}/"), "the one that began last"
    second.process.kill()  # what it left behind does not count
    # Its worker holds the note's lock until it has noticed.
    wait_until(lambda: run("link").stdout.startswith(f"http://localhost:{first.port}/"), "the other one", 30)
    first.workers()[0].terminate()
    wait_until(lambda: len(first.workers()) == 1 and first.get("/").status == 401, "another worker")
    assert run("link").stdout.startswith(f"http://localhost:{first.port}/")
    first.process.terminate()
    assert first.process.wait(10) == 0
    ended = run("link")
    assert ended.stdout.startswith("http://localhost:8000/") and "Nothing is served now" in ended.stderr
    state = home / ".local/state/remoteweb"
    assert [path.name for path in state.glob("serving.*")] == [f"serving.{second.port}"]


def test_a_link_is_not_of_a_port_where_another_database_is_served(
    serve: Callable[[int], Served], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(free_port()).until_ready()
    monkeypatch.setenv("REMOTEWEB_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/other.sqlite")
    assert run("link").stdout.startswith("http://localhost:8000/")


@pytest.mark.sqlite
def test_a_port_that_is_taken_by_remoteweb_leads_to_a_link_into_it(
    serve: Callable[[int], Served], home: Path
) -> None:
    first = serve(free_port())
    first.until_ready()
    second = serve(first.port)
    assert second.process.wait(20) == 1
    assert f"Error: Port {first.port} is in use by remoteweb itself" in second.err.read_text()
    assert f"`remoteweb link --port {first.port}`" in second.err.read_text()
    assert run("link").stdout.startswith(f"http://localhost:{first.port}/")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.sqlite
@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_it_at_once_and_leaves_nothing_behind(
    serve: Callable[[int], Served], home: Path, number: signal.Signals, whole_group: bool
) -> None:
    served = serve(free_port())
    served.until_ready()
    workers = served.workers()
    assert len(workers) == 1
    (os.killpg if whole_group else os.kill)(served.process.pid, number)
    assert served.process.wait(10) == 0
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert served.err.read_text() == ""
    with socket.create_server(("127.0.0.1", served.port)):
        pass
    assert is_whole()
    assert [path.name for path in home.iterdir()] == [".local"]  # and no ~/.gunicorn


def test_the_cookie_outlives_a_restart(serve: Callable[[int], Served]) -> None:
    first = serve(free_port())
    cookie = first.enter(first.until_ready())
    first.process.terminate()
    assert first.process.wait(10) == 0
    second = serve(first.port)
    second.until_ready()
    assert second.get("/", cookie).status == 200


def test_a_killed_worker_is_replaced_and_the_link_not_printed_again(serve: Callable[[int], Served]) -> None:
    served = serve(free_port())
    cookie = served.enter(served.until_ready())
    killed = served.workers()[0]
    killed.kill()
    wait_until(lambda: [one for one in served.workers() if one.pid != killed.pid], "a new worker")
    assert served.get("/", cookie).status == 200
    assert served.out.read_text().count("/enter/") == 1


@pytest.mark.sqlite
def test_no_worker_outlives_a_server_that_was_killed(serve: Callable[[int], Served]) -> None:
    served = serve(free_port())
    served.until_ready()
    workers = served.workers()
    served.process.kill()
    served.process.wait()
    assert psutil.wait_procs(workers, timeout=10)[1] == []


@pytest.mark.sqlite
@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_a_sentence_with_a_way_out(
    serve: Callable[[int], Served], loopback: str
) -> None:
    if loopback == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
    port = free_port()
    with socket.create_server((loopback, port), family=family):
        served = serve(port)
        assert served.process.wait(20) == 1
    assert f"Error: Port {port} is in use." in served.err.read_text()
    assert f"--port {port + 1}" in served.err.read_text()
    assert "Traceback" not in served.err.read_text()
    assert "/enter/" not in served.out.read_text()


def test_the_sync_worker_runs_in_it(serve: Callable[[int], Served], home: Path) -> None:
    served = serve(free_port())
    served.until_ready()
    with create_app().app_context():
        server = sources.this_machine()
        db.session.add(Source(server_id=server.id, app="jobs"))
        db.session.commit()
        requests.ask(server)
        db.engine.dispose()
    asked = "SELECT state FROM sync_run ORDER BY id LIMIT 1"
    wait_until(lambda: rows(asked)[0][0] not in ("waiting", "running"), "the sync that was asked for")


def test_an_unchanged_poll_is_below_450_bytes_on_the_wire(serve: Callable[[int], Served], home: Path) -> None:
    served = serve(free_port())
    cookie = served.enter(served.until_ready())
    known = served.get("/changes", cookie).headers["HX-PTag"]
    lines = [
        "GET /changes HTTP/1.1",
        f"Host: localhost:{served.port}",
        f"Cookie: {cookie}",
        f"HX-PTag: {known}",
    ]
    lines += ["HX-Request: true", "HX-Request-Type: partial", "Connection: close", "", ""]
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=10)) as wire:
        wire.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: wire.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 304") and b"HX-PTag" in answer
    assert len(answer) < 450

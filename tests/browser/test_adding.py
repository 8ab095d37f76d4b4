"""A server is added on a phone, against real sshds: its host key is compared, what it asks is typed, its jobs are seen."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psutil
import pytest
from cluster.pam_sshd import APPROVAL, CODE, PASSWORD, Make, PamSshd, pam_servers
from cluster.parts import wait_until
from cluster.sshd import Sshd
from flask import Flask
from library.machines import APP, over_ssh
from playwright.sync_api import Page, expect

from remotejobs import RemoteJobSubmitter
from remotejobs.hostkeys import HostKey as ShownKey
from remoteweb import hostkeys
from remoteweb.accounts import FIRST, Audit, HostKey
from remoteweb.database import Base, db
from remoteweb.models import Server
from remoteweb.sync.worker import Worker

from .conftest import Open

WIDTH = 390
SOON = 25_000  # milliseconds, for what a real server has a part in


@pytest.fixture(scope="module")
def make(parts_folder: Path) -> Iterator[Make]:
    with pam_servers(parts_folder) as make:
        yield make


@pytest.fixture(scope="module")
def gate(parts_folder: Path, sshd: Sshd) -> Iterator[Sshd]:
    """A second sshd, which the first one is reached through."""
    server = Sshd(parts_folder / "sshd-first-hop")
    server.start()
    yield server
    server.stop()


def fingerprint(server: Sshd) -> str:
    kind, key = server.host_key.split()
    return ShownKey(kind, base64.b64decode(key)).fingerprint


def accept_beforehand(app: Flask, server: Sshd) -> None:
    with app.app_context():
        hostkeys.accept(FIRST, server.known_hosts.read_text().strip(), "admin")
        db.session.commit()


def ask_for(page: Page, destination: str, jumps: str = "", keep: str = "0") -> None:
    page.get_by_role("link", name="Add a server").click()
    page.get_by_label("Server", exact=True).fill(destination)
    if jumps:
        page.get_by_text("Through other servers").click()
        page.get_by_label("Jumps").fill(jumps)
    page.get_by_label("If it asks you").select_option(keep)
    fits(page)
    press(page, "Connect")


def press(page: Page, name: str, role: Literal["button", "link"] = "button") -> None:
    """What leads to the page of the login: its later words then come without another load."""
    with page.expect_navigation():
        page.get_by_role(role, name=name).click()
    page.evaluate("window.loaded = 'once'")


def wait_for(page: Page, words: str) -> None:
    """Live; without scripts the person looks again."""
    until = time.monotonic() + SOON / 1000
    while page.get_by_role("link", name="Look again").is_visible() and words not in page.inner_text("#login"):
        assert time.monotonic() < until, page.inner_text("#login")
        press(page, "Look again", "link")
    expect(page.locator("#login")).to_contain_text(words, timeout=SOON)
    assert page.evaluate("window.loaded") == "once"
    fits(page)


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH


def answer(page: Page, label: str, text: str) -> None:
    wait_for(page, label)
    page.get_by_label(label).fill(text)
    press(page, "Send")


def accept(page: Page, server: Sshd) -> None:
    wait_for(page, "Waits for you to compare the host key")
    expect(page.locator("#login pre")).to_have_text(fingerprint(server))
    press(page, "accept it")


def is_kept_nowhere(app: Flask, home: Path, caplog: pytest.LogCaptureFixture, *typed: str) -> None:
    """Neither in a file of the program, nor in a row (PostgreSQL has its files elsewhere), nor in its log."""
    kept = [path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file()]
    with app.app_context(), db.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            kept += [str(row) for row in connection.execute(table.select())]
    assert len(kept) > 5 and len(caplog.records) > 20
    for secret in typed:
        # Six digits may well be part of a longer number.
        alone = re.compile(rf"(?<![\d.]){re.escape(secret)}(?![\d.])")
        assert not any(alone.search(content) for content in [*kept, caplog.text])


@pytest.mark.parametrize("scripts", [True, False], ids=["with-script", "without"])
def test_a_server_is_added_on_a_phone_and_its_jobs_are_in_the_list(
    app: Flask,
    sshd: Sshd,
    worker: Worker,
    phone: Open,
    home: Path,
    scripts: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    account = sshd.account()
    with over_ssh(sshd, account.user) as shell:
        jobs = RemoteJobSubmitter(APP, shell=shell)
        made = jobs.create_settings(None, None, "exit 3", scheduler="process", name="train-resnet50")
        jobs.submit_job(made)
    page = phone("/servers", scripts=scripts)
    ask_for(page, f"{account.user}@{sshd.host}:{sshd.port}")
    wait_for(page, "Waits for you to compare the host key")
    with app.app_context():
        assert hostkeys.lines(FIRST) == [], "nothing is accepted by itself"
    accept(page, sshd)
    answer(page, f"Password of {account.user}", account.password)
    wait_for(page, "1 job")
    page.get_by_role("link", name="Its jobs").click()
    expect(page.locator(".job")).to_contain_text(["train-resnet50"])
    page.goto("/servers")
    press(page, "Sign in")
    wait_for(page, f"Password of {account.user}")  # a key that was accepted is not asked about again
    page.get_by_role("button", name="Give up").click()
    with app.app_context():
        assert [f"{key.type} {key.key}" for key in db.session.scalars(db.select(HostKey))] == [sshd.host_key]
        noted = set(db.session.scalars(db.select(Audit.what)))
    assert {"asked to add a server", "accepted a host key", "added a server"} <= noted
    is_kept_nowhere(app, home, caplog, account.password)


def test_a_password_and_a_code_are_asked_one_after_the_other_while_the_page_stands_open(
    app: Flask, make: Make, worker: Worker, phone: Open, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server = make(PASSWORD + CODE)
    accept_beforehand(app, server)
    page = phone("/servers")
    ask_for(page, server.destination, keep="3600")
    answer(page, "Password:", server.password)
    wait_for(page, "One-time password")
    field = page.get_by_label("One-time password")
    assert [field.get_attribute(name) for name in ("type", "autocomplete")] == ["password", "one-time-code"]
    code = server.code(server.user)
    answer(page, "One-time password", code)
    wait_for(page, "0 jobs")
    page.goto("/servers")
    expect(page.get_by_text("Signed in until")).to_be_visible()
    is_kept_nowhere(app, home, caplog, server.password, code)


def test_an_approval_elsewhere_is_waited_for_on_the_page(
    app: Flask, make: Make, worker: Worker, phone: Open
) -> None:
    server = approving(app, make)
    page = phone("/servers")
    ask_for(page, server.destination)
    answer(page, "Password:", server.password)
    wait_for(page, "Connecting")
    assert server.counts().execs == 0
    (server.folder / "approved").touch()
    wait_for(page, "0 jobs")
    with app.app_context():
        assert db.session.scalars(db.select(Server.asks)).one(), "it is not tried without a person"


def test_what_is_given_up_while_an_approval_is_waited_for_hangs_up_and_sends_nothing(
    app: Flask, make: Make, worker: Worker, phone: Open
) -> None:
    server = approving(app, make)
    page = phone("/servers")
    with server.counting() as counted:
        ask_for(page, server.destination)
        answer(page, "Password:", server.password)
        wait_for(page, "Connecting")
        page.get_by_role("button", name="Give up").click()
        wait_until(lambda: not worker._logins._under_way, "its end", 5)
        (server.folder / "approved").touch()
        page.goto("/servers/logins/1")
        expect(page.locator("#login")).to_contain_text("Given up")
        wait_until(lambda: not sessions_of(server), "the end of what waited for the approval", 10)
    assert (counted.connections, counted.execs) == (1, 0)


def sessions_of(server: Sshd) -> list[psutil.Process]:
    assert server.daemon
    return psutil.Process(server.daemon.process.pid).children(recursive=True)


def approving(app: Flask, make: Make) -> PamSshd:
    """Whose logins wait for the file `approved`."""
    server = make(PASSWORD + APPROVAL)
    (server.folder / "approved").unlink(missing_ok=True)
    (server.folder / "approve").write_text(f"until [ -e {server.folder}/approved ]; do sleep 0.1; done\n")
    accept_beforehand(app, server)
    return server


def test_a_server_behind_another_is_added_and_each_hop_is_compared_and_asked_for_itself(
    app: Flask, sshd: Sshd, gate: Sshd, worker: Worker, phone: Open
) -> None:
    inner, outer = sshd.account(), gate.account()
    page = phone("/servers")
    with gate.counting() as through, sshd.counting() as reached:
        jump = f"{outer.user}@{gate.host}:{gate.port}"
        ask_for(page, f"{inner.user}@{sshd.host}:{sshd.port}", jumps=jump)
        accept(page, gate)
        answer(page, f"Password of {outer.user}", outer.password)
        accept(page, sshd)
        answer(page, f"Password of {outer.user}", outer.password)
        answer(page, f"Password of {inner.user}", inner.password)
        wait_for(page, "0 jobs")
    assert (through.connections, through.execs) == (3, 0), "the one between runs nothing"
    assert (reached.connections, reached.execs) == (2, 1)
    with app.app_context():
        assert [line.split(" ")[0] for line in hostkeys.lines(FIRST)] == [
            f"[{server.host}]:{server.port}" for server in (gate, sshd)
        ]

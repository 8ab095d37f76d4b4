"""The main job, on real parts: a job runs on a server, is seen on a phone, and is cancelled there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cluster.parts import free_port, wait_until
from cluster.sshd import Sshd
from library.machines import APP, Machine, over_ssh
from playwright.sync_api import Browser, BrowserContext, Page
from web.served import ROOT, Served


@pytest.fixture
def chromium(desktop_chromium: Browser) -> Browser:
    return desktop_chromium


@pytest.fixture
def alps(request: pytest.FixtureRequest, sshd: Sshd, home: Path) -> Iterator[Machine]:
    """A server that the home's ~/.ssh/config knows as `alps`: with Slurm, or without any batch system."""
    scheduler = request.param
    if scheduler == "slurm":
        request.getfixturevalue("slurm")
    account = sshd.account()
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "known_hosts").write_text(sshd.known_hosts.read_text())
    (folder / "config").write_text(
        f"Host alps\n  HostName {sshd.host}\n  Port {sshd.port}\n  User {account.user}\n  IdentityFile {sshd.key}\n"
    )
    shell = over_ssh(sshd, account.user)
    yield Machine(shell, account.home, scheduler)
    shell.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Served as `make run` does, only that a server may be synced every second."""
    monkeypatch.setenv("REMOTEWEB_MIN_INTERVAL", "1")
    monkeypatch.setenv("REMOTEWEB_SERVER_INTERVAL", "2")
    server = Served(tmp_path, free_port())
    yield server
    server.end()


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def enter(scripts: bool, chromium: Browser) -> Iterator[Callable[[str], Page]]:
    contexts: list[BrowserContext] = []

    def with_link(link: str) -> Page:
        context = chromium.new_context(
            viewport={"width": 390, "height": 844}, java_script_enabled=scripts, has_touch=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(link)
        return page

    yield with_link
    for context in contexts:
        context.close()


@pytest.mark.parametrize("alps", ["process", "slurm"], indirect=True)
def test_a_job_on_a_real_server_is_seen_and_cancelled_on_a_phone(
    alps: Machine, served: Served, enter: Callable[[str], Page], scripts: bool
) -> None:
    jobs = alps.submitter()
    made = jobs.create_settings(None, None, "sleep 987", scheduler=alps.scheduler, name="train-resnet50")
    submitted = jobs.submit_job(made)
    wait_until(lambda: sleeping(alps.home), "the job's process", 30)

    link = served.until_ready()
    command = [sys.executable, "-m", "remoteweb", "update-database", APP, "alps"]
    synced = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert synced.returncode == 0, synced.stderr
    assert synced.stdout.startswith("alps: 1 job, 1 changed")

    page = enter(link)
    row = page.locator("li.job", has_text="train-resnet50")
    assert "Running" in seen(page, row.inner_text, "Running", scripts)
    row.get_by_role("button", name="Cancel train-resnet50").click()
    row.get_by_role("button", name="Undo").wait_for()
    assert "Cancel at next sync" in row.inner_text()
    assert sleeping(alps.home), "nothing is sent while it can be undone"
    row.get_by_role("button", name="Send now").click()
    wait_until(lambda: not sleeping(alps.home), "the job's end", 30)
    assert "Cancelled" in seen(page, row.inner_text, "Cancelled", scripts)
    hash_, n = submitted["jobid"].rsplit("_", 1)
    state = jobs.check_state(hash_, int(n), False)
    assert (state["status"], state["reason"]) == ("cancelled", "by_user")

    row.locator("a.open").click()
    page.get_by_role("button", name="Run again").first.click()
    page.get_by_role("button", name="Send now").first.click()
    wait_until(lambda: sleeping(alps.home), "the second run", 40)
    assert sorted(jobs.settings.list_keys()) == [f"{hash_}_1", f"{hash_}_2"]
    jobs.cancel_job(hash_, 2)


def seen(page: Page, text: Callable[[], str], word: str, scripts: bool) -> str:
    """What the row says once it says the word: by itself where scripts run, else after loading the page anew."""

    def says() -> bool:
        if not scripts:
            page.reload()
        return word in text()

    wait_until(says, f"the row to say {word!r}", 30)
    return text()


def sleeping(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline() == ["sleep", "987"] and process.environ().get("HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found

"""Real parts for every test that asks for them, started once, on demand; and a home that is not yours."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cluster.parts import SYSTEM_PATH, base_folder, need, need_network
from cluster.postgresql import PostgreSQL
from cluster.slurm import Slurm
from cluster.sshd import Sshd
from known_secrets import nothing_secret_is_left, pytest_runtest_makereport, pytest_sessionstart
from soak_figures import pytest_runtest_logreport

if TYPE_CHECKING:
    from flask import Flask

    from remoteweb.sync.worker import Worker

__all__ = [
    "nothing_secret_is_left",
    "pytest_runtest_logreport",
    "pytest_runtest_makereport",
    "pytest_sessionstart",
]

# In the background of a shell without job control Ctrl-C is ignored, and so it would be by all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Programs of ours are started by the hundred: none compiles all of itself anew, whatever this variable says to others.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SLURM_COMMANDS = ("slurmctld", "slurmd", "sbatch", "munged", "setpriv")
# Files that take longest, the longest first: they are begun first, so that no worker has one left at the end.
LONGEST = (
    "test_slurm_identity",
    "test_pages",
    "test_update_database",
    "test_slurm_live",
    "test_submission",
    "test_collector_steps",
    "test_cancelling",
    "test_adding",
    "test_adding_a_server",
    "test_whole_road",
    "test_serve",
    "test_collector_trouble",
    "test_cli",
    "test_inert",
    "test_web",
    "test_killed_probe",
    "test_sinks",
    "test_upgrade",
    "test_exchange",
    "test_jobs",
    "test_servers",
    "test_collector_database",
    "test_sealing",
    "test_clocks",
    "test_collector",
    "test_registry",
    "test_made_keys",
    "test_shell_hostile",
    "test_deploy",
    "test_collector_killed",
    "test_key_pages",
    "test_packaging",
    "test_inert_logins",
    "test_owners",
)
ACCOUNTING_COMMANDS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb-admin", "mariadb")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_collection_finish() -> None:
    """What is there now stays: garbage is looked for among what the tests make."""
    gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME of the test: an empty folder. No test touches the home, keys or agent of whoever runs it."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / ".local" / "state"))
    for name in ("SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "SLURM_CONF"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def parts_folder() -> Iterator[Path]:
    with base_folder("tests") as folder:
        yield folder


def _sshd(folder: Path) -> Iterator[Sshd]:
    need("sshd", "sshd", "ssh", "ssh-keygen", "setpriv", "useradd", root=True)
    server = Sshd(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _slurm(folder: Path, sshd: Sshd, **options: bool | str) -> Iterator[Slurm]:
    cluster = Slurm(folder, sshd, **options)  # type: ignore[arg-type]
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def sshd(parts_folder: Path) -> Iterator[Sshd]:
    yield from _sshd(parts_folder / "sshd")


@pytest.fixture(scope="session")
def slurm(parts_folder: Path, sshd: Sshd) -> Iterator[Slurm]:
    """From here on, every login of `sshd` finds this cluster."""
    need_network()
    need("Slurm with accounting", *SLURM_COMMANDS, *ACCOUNTING_COMMANDS, root=True)
    yield from _slurm(parts_folder / "slurm", sshd)


@pytest.fixture(scope="session")
def slurm_without_accounting(parts_folder: Path) -> Iterator[Slurm]:
    """A second cluster, without slurmdbd, behind an sshd of its own (`.sshd`)."""
    need_network()
    need("Slurm", *SLURM_COMMANDS, root=True)
    for own_sshd in _sshd(parts_folder / "sshd-plain"):
        yield from _slurm(parts_folder / "slurm-plain", own_sshd, accounting=False, cluster="plain")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with base_folder("postgresql") as folder:
        server = PostgreSQL(folder)
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def ssh_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty ssh-agent, found by SSH_AUTH_SOCK: the path of its socket. Fill it with `ssh-add`."""
    need("ssh-agent", "ssh-agent", "ssh-add")
    with base_folder("agent") as folder:  # a socket's path has a limit that pytest's own folders pass
        path = folder / "socket"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
        try:
            while not path.exists():
                assert agent.poll() is None
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            yield path
        finally:
            agent.terminate()
            agent.wait()


QUIET = ("--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def playwright() -> Iterator[object]:
    need_network()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as one:
        yield one


@contextmanager
def _launched(playwright: Any, command: str, folder: Path) -> Iterator[object]:
    need("Chromium", command)
    browser = playwright.chromium.launch(
        executable_path=shutil.which(command, path=SYSTEM_PATH),
        args=["--no-sandbox", *QUIET],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "TZ": "UTC"},
    )
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def chromium(playwright: object, parts_folder: Path) -> Iterator[object]:
    """Playwright's Browser, driving the system's Chromium without windows: the same engine, for a quarter of the work."""
    with _launched(playwright, "chromium-headless-shell", parts_folder) as browser:
        yield browser


@pytest.fixture(scope="session")
def desktop_chromium(playwright: object, parts_folder: Path) -> Iterator[object]:
    """The same as a person has it. A file that wants no other calls it `chromium`."""
    with _launched(playwright, "chromium", parts_folder) as browser:
        yield browser


@pytest.fixture
def worker(app: "Flask") -> Iterator["Worker"]:
    """The sync worker of the app, as a thread beside it."""
    from remoteweb.sync.worker import Worker

    started = Worker(app)
    started.start()
    yield started
    started.stop()

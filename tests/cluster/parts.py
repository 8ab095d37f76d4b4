"""What the real parts share: naming what is missing, ports, daemons that end with the tests, accounts."""

import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCOUNT_PREFIX = "rwtest"


def need(part: str, *commands: str, root: bool = False) -> None:
    """Skips the test with a line that says what is missing; with REQUIRE_REAL=1 that is a failure."""
    missing = [command for command in commands if not shutil.which(command, path=SYSTEM_PATH)]
    if os.environ.get("REAL") == "0":
        why = "REAL=0 leaves out the real parts"
    elif missing:
        why = f"this machine has no {', '.join(missing)} (tests/cluster/install.sh installs it)"
    elif root and os.geteuid() != 0:
        why = "it can be started by root only"
    else:
        return
    (pytest.fail if os.environ.get("REQUIRE_REAL") == "1" else pytest.skip)(f"no {part}: {why}")


def need_network() -> None:
    """Skips what is of a network, also of loopback alone, where `make test-isolated` leaves none."""
    if os.environ.get("ISOLATED") == "1":
        pytest.skip("there is no network in this namespace")


def free_port() -> int:
    """Below the range that outgoing connections are given, so that none takes it before our daemon does."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def rest(began: float) -> None:
    """Between two looks at something waited for since `began`: an eighth of that. A look may be a command on a server."""
    time.sleep(min(0.02 + (time.monotonic() - began) / 8, 0.5))


def wait_until(true: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    began = time.monotonic()
    while not true():
        if time.monotonic() > began + seconds:
            raise TimeoutError(f"gave up waiting after {seconds:.0f} s: {what}")
        rest(began)


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    need("mount", "mount", root=True)
    subprocess.run(["mount", *options, str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def base_folder(name: str) -> Iterator[Path]:
    """Not pytest's own temporary folder: job users and daemons' accounts must be able to enter this one."""
    folder = Path(tempfile.mkdtemp(prefix=f"remoteweb-{name}-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Daemon:
    """A server in the foreground, as our child: it can be waited for, and it ends if pytest is killed."""

    def __init__(
        self, *command: str, log: Path, user: str | None = None, env: dict[str, str] | None = None
    ) -> None:
        prefix = ["setpriv", "--pdeathsig", "TERM"]
        if user:
            account = pwd.getpwnam(user)
            prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": SYSTEM_PATH, **(env or {})},
                cwd="/",
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], object], seconds: float = 20.0) -> None:
        def ready_or_dead() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.name} ended by itself:\n{self.log.read_text(errors='replace')[-2000:]}"
                )
            return bool(ready())

        wait_until(ready_or_dead, f"{self.name}, see {self.log}", seconds)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it and what it started and left (sessions, job steps)."""
        if self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end(children)


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def make_account(home: Path, shell: str) -> str:
    """A new account of this machine without a password, named after our pid so that a later run can tell a leftover."""
    _remove_leftovers()
    taken = {account.pw_name for account in pwd.getpwall()}
    names = (f"{ACCOUNT_PREFIX}{os.getpid()}x{number:04x}" for number in itertools.count())
    name = next(name for name in names if name not in taken)
    # To sshd "!" is an account that is locked, also for keys. Ids for containers would be two more files to write.
    options = ["--password", "*", "--no-log-init", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    # useradd gives up at once when another one holds the lock of /etc/passwd.
    _retry("useradd", *options, "--create-home", "--home-dir", str(home), "--shell", shell, name)
    return name


def set_password(name: str, password: str) -> None:
    _retry("chpasswd", stdin=f"{name}:{password}\n")


def remove_accounts(*names: str) -> None:
    uids = {pwd.getpwnam(name).pw_uid for name in names}
    end([p for p in psutil.process_iter(["uids"]) if p.info["uids"] and p.info["uids"].real in uids])
    for name in names:
        _retry("userdel", name)


def _remove_leftovers() -> None:
    for account in pwd.getpwall():
        pid, x, _ = account.pw_name.removeprefix(ACCOUNT_PREFIX).partition("x")
        if (
            account.pw_name.startswith(ACCOUNT_PREFIX)
            and x
            and pid.isdecimal()
            and not psutil.pid_exists(int(pid))
        ):
            with suppress(KeyError, RuntimeError):  # another run may be tidying up as well
                remove_accounts(account.pw_name)


def _retry(*command: str, stdin: str = "") -> None:
    for attempt in range(50):
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env={"PATH": SYSTEM_PATH}, check=False
        )
        if done.returncode == 0:
            return
        time.sleep(0.1 * (attempt < 49))
    raise RuntimeError(f"{command[0]}: {done.stderr}")

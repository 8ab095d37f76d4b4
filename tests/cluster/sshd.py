"""A real sshd on a free port of 127.0.0.1, with accounts of its own."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cluster.parts import Daemon, free_port, make_account, need_network, remove_accounts, set_password
from known_secrets import known

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile .ssh/authorized_keys
# The homes lie in a temporary folder, below one that everyone may write.
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin no
# As Debian ships it, MaxStartups would refuse a burst of tests.
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Account:
    user: str
    home: Path

    @cached_property
    def password(self) -> str:
        """It has one from when somebody asks for it: few do, and each is a change of /etc/shadow."""
        password = known(f"pass-{os.urandom(8).hex()}")
        set_password(self.user, password)
        return password


@dataclass
class Counts:
    connections: int = 0
    execs: int = 0


class Sshd:
    """`user` may log in with the key at `key` or with `password`; `known_hosts` holds the right host key."""

    host = "127.0.0.1"
    command = "/usr/sbin/sshd"

    def __init__(self, folder: Path, options: str = "") -> None:
        """`options`: further lines for sshd_config, before ours (sshd takes the first of each)."""
        self.folder = folder
        self.port = free_port()
        self.log = folder / "sshd.log"
        self.key = folder / "user_key"
        self.known_hosts = folder / "known_hosts"
        self._options = options
        self._environment: dict[str, str] = {}
        self._accounts: list[Account] = []
        self.daemon: Daemon | None = None

    def start(self) -> None:
        need_network()
        self.folder.mkdir(mode=0o755, exist_ok=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        make_key(self.folder / "host_key")
        make_key(self.key)
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {self.host_key}\n")
        main = self.account()
        self.user, self.home = main.user, main.home
        self._write_config()
        self.daemon = Daemon(self.command, "-D", "-e", "-f", str(self.folder / "sshd_config"), log=self.log)
        self.daemon.wait_until(self._starts)

    @property
    def password(self) -> str:
        return self._accounts[0].password

    @property
    def host_key(self) -> str:
        """Type and base64, as in a known_hosts line."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def destination(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"

    def account(self, shell: str = "/bin/bash", authorized_key: str | None = None) -> Account:
        """One more account. `authorized_key`: its line of authorized_keys, perhaps with options."""
        name = f"home-{len(self._accounts)}"
        account = Account(make_account(self.folder / name, shell), self.folder / name)
        self._accounts.append(account)
        keys = account.home / ".ssh" / "authorized_keys"
        keys.parent.mkdir(mode=0o755)
        keys.write_text((authorized_key or self.key.with_suffix(".pub").read_text()).strip() + "\n")
        return account

    def set_environment(self, **values: str) -> None:
        """For every later login (sshd's SetEnv)."""
        self._environment |= values
        self._write_config()
        starts = self._starts()
        assert self.daemon
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.wait_until(lambda: self._starts() > starts)

    def counts(self) -> Counts:
        """What the log holds so far: TCP connections accepted, and commands or shells begun."""
        log = self.log.read_text(errors="replace")
        return Counts(
            len(re.findall(r"^Connection from ", log, re.MULTILINE)),
            len(re.findall(r"^Starting session: ", log, re.MULTILINE)),
        )

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """`with sshd.counting() as counted: ...`; then counted.connections and counted.execs."""
        before, counted = self.counts(), Counts()
        yield counted
        after = self.counts()
        counted.connections = after.connections - before.connections
        counted.execs = after.execs - before.execs

    def ssh(self, command: str, user: str | None = None, data: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command by OpenSSH's own client, independent of ours."""
        options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={self.known_hosts}"]
        client = ["ssh", "-F", "none", *(f"-o{option}" for option in options)]
        client += ["-i", str(self.key), "-p", str(self.port)]
        return subprocess.run(
            [*client, f"{user or self.user}@{self.host}", "--", command],
            input=data,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
        remove_accounts(*(account.user for account in self._accounts))

    def _write_config(self) -> None:
        text = self._options + CONFIG.format(port=self.port, folder=self.folder)
        if self._environment:  # one line: sshd takes only the first
            text += "SetEnv " + " ".join(f'"{k}={v}"' for k, v in self._environment.items()) + "\n"
        (self.folder / "sshd_config").write_text(text)

    def _starts(self) -> int:
        return self.log.read_text(errors="replace").count("Server listening on")


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
        timeout=60,
    )
    return path

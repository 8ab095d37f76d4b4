"""An account that is reached by a narrow key, on the tests' own sshd."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cluster.sshd import Account, Sshd, make_key
from library.machines import APP, Machine, over_ssh

from remotejobs import Destination, RemoteJobSubmitter, gate
from remotejobs.authorized import PublicKey
from remotejobs.shell import SSHShell

# How every client of ours begins; the gate looks no further, and does not run it.
COMMAND = "exec /bin/sh -c 'exit 99'"


@dataclass
class Narrow:
    """`full` logs in as ever, `shell` by the narrow key; `options` go to OpenSSH's own client, to try what ours never would."""

    sshd: Sshd
    account: Account
    key: Path
    full: SSHShell
    installed: gate.Installed
    shells: list[SSHShell] = field(default_factory=list)

    @classmethod
    def install(cls, sshd: Sshd, folder: Path, login_shell: str = "/bin/bash") -> "Narrow":
        account = sshd.account(login_shell)
        for path in (account.home / ".ssh", account.home / ".ssh" / "authorized_keys"):
            shutil.chown(path, account.user, account.user)
        key = make_key(folder / f"narrow-{account.user}")
        full = over_ssh(sshd, account.user)
        installed = gate.install(full, PublicKey.read(key.with_suffix(".pub")))
        gate.write(full, installed)
        return cls(sshd, account, key, full, installed, [full])

    @property
    def shell(self) -> SSHShell:
        self.shells.append(narrow_shell(self.sshd, self.account.user, self.key))
        return self.shells[-1]

    @property
    def registry(self) -> Path:
        return self.account.home / f".{APP}"

    def machine(self, scheduler: str = "process") -> Machine:
        return Machine(self.full, self.account.home, scheduler)

    def jobs(self, app: str = APP) -> RemoteJobSubmitter:
        return RemoteJobSubmitter(app, shell=self.shell)

    def ssh(
        self, *arguments: str, data: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ssh", *self.client, "-p", str(self.sshd.port), *arguments],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin"} | (env or {}),
        )

    @property
    def client(self) -> list[str]:
        options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={self.sshd.known_hosts}"]
        return ["-F", "none", *(f"-o{option}" for option in options), "-i", str(self.key)]

    @property
    def there(self) -> str:
        return f"{self.account.user}@{self.sshd.host}"

    def ask(self, request: bytes) -> subprocess.CompletedProcess[bytes]:
        """Bytes for the gate, as any client may send them."""
        return self.ssh(self.there, "--", COMMAND, data=request)

    def close(self) -> None:
        for shell in self.shells:
            shell.close()


def narrow_shell(sshd: Sshd, user: str, key: Path) -> SSHShell:
    return SSHShell(
        Destination(sshd.host, sshd.port, user),
        keys=[key],
        allow_agent=False,
        look_for_keys=False,
        config=False,
        known_hosts=[sshd.known_hosts],
    )


def narrow_account(sshd: Sshd, folder: Path, login_shell: str = "/bin/bash") -> Iterator[Narrow]:
    narrow = Narrow.install(sshd, folder, login_shell)
    yield narrow
    narrow.close()

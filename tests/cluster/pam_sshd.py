"""An sshd that asks by PAM: its service file is put in place inside a mount namespace of its own."""

import hmac
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.parts import need, need_network
from cluster.sshd import Account, Sshd

STEP = 30  # seconds that a code is valid for
# Neither limits nor an audit id can be set in a container.
REST = "account required pam_permit.so\nsession required pam_permit.so\n"
CODE = "auth required pam_oath.so usersfile={folder}/users.oath window=2 digits=6\n"
PASSWORD = "auth required pam_unix.so nodelay\n"
# Waits until somebody approves it: until the file `approved` lies in the folder.
APPROVAL = "auth required pam_exec.so /bin/sh {folder}/approve\nauth required pam_permit.so\n"
KEY_THEN_QUESTIONS = "AuthenticationMethods publickey,keyboard-interactive\n"
OPTIONS = "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no\n"


class PamSshd(Sshd):
    """`pam`: the lines of its stack for logins; `{folder}` in them is ours. Each account gets a secret for codes."""

    def __init__(self, folder: Path, pam: str, options: str = "") -> None:
        super().__init__(folder, options + OPTIONS)
        self._pam = pam
        self._secrets: dict[str, bytes] = {}

    def start(self) -> None:
        self.folder.mkdir(mode=0o755, exist_ok=True)
        service = self.folder / "pam"
        service.write_text(self._pam.format(folder=self.folder) + REST)
        script = self.folder / "sshd-with-pam"
        script.write_text(
            "#!/bin/sh\n"
            f"exec unshare -m --propagation private /bin/sh -c 'mount --bind {service} /etc/pam.d/sshd && "
            'exec /usr/sbin/sshd "$@"\' sh "$@"\n'
        )
        script.chmod(0o755)
        self.command = str(script)
        super().start()

    def account(self, shell: str = "/bin/bash", authorized_key: str | None = None) -> Account:
        account = super().account(shell, authorized_key)
        self._secrets[account.user] = os.urandom(20)
        self.forget_codes()
        return account

    def forget_codes(self) -> None:
        """A code is taken once: from here on the present one counts again."""
        users = self.folder / "users.oath"
        users.write_text(
            "".join(f"HOTP/T{STEP}/6 {user} - {secret.hex()}\n" for user, secret in self._secrets.items())
        )
        users.chmod(0o600)

    def code(self, user: str) -> str:
        """The one-time code of now (RFC 6238)."""
        digest = hmac.digest(self._secrets[user], int(time.time() // STEP).to_bytes(8), "sha1")
        at = digest[-1] & 15
        return f"{(int.from_bytes(digest[at : at + 4]) & 0x7FFFFFFF) % 1_000_000:06}"


Make = Callable[..., PamSshd]


@contextmanager
def pam_servers(folder: Path) -> Iterator[Make]:
    """`make(pam, options)`: a server per stack, kept until the end."""
    need_network()
    need("sshd with PAM", "sshd", "unshare", "setpriv", "useradd", root=True)
    if not list(Path("/usr/lib").glob("*/security/pam_oath.so")):
        need("PAM module for codes", "pam_oath.so")
    servers: dict[tuple[str, str], PamSshd] = {}

    def make(pam: str, options: str = "") -> PamSshd:
        key = (pam, options)
        if key not in servers:
            own = Path(
                tempfile.mkdtemp(prefix="sshd-pam-", dir=folder)
            )  # each file that asks has servers of its own
            own.chmod(0o755)
            servers[key] = PamSshd(own, pam, options)
            servers[key].start()
        servers[key].forget_codes()
        return servers[key]

    try:
        yield make
    finally:
        for server in servers.values():
            server.stop()

"""An sshd that asks by PAM: its service file is put in place inside a mount namespace of its own."""

import hmac
import os
import time
from pathlib import Path

from cluster.sshd import Account, Sshd

STEP = 30  # seconds that a code is valid for
# Neither limits nor an audit id can be set in a container.
REST = "account required pam_permit.so\nsession required pam_permit.so\n"
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

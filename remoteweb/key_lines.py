"""The lines by which a server takes a key that was made here: what a person adds to ~/.ssh/authorized_keys there."""

import shlex
from dataclasses import dataclass

from remotejobs import authorized, gate
from remotejobs.authorized import PublicKey


@dataclass(frozen=True, slots=True)
class KeyLines:
    """`narrow` needs the gate, which `install` puts there and which then adds the line by itself; `plain` needs nothing."""

    narrow: str
    plain: str
    install: str
    fingerprint: str

    @classmethod
    def of(cls, public: str, login: str) -> "KeyLines":
        """Of the line of a .pub file, and the user@server[:port] that it is for."""
        key = PublicKey.parse(public)
        command = ["remotejobs", "install-gate", "--write", "--key", str(key), login]
        return cls(
            authorized.line(key, gate.USUAL_PATH), f"restrict {key}", shlex.join(command), key.fingerprint
        )

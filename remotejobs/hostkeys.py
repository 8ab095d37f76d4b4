"""Which host keys a person has accepted: lines as in known_hosts, read by ourselves.

paramiko's own table holds one key per type and name (a name that stands for several login nodes needs more),
and a single line that it cannot read spoils the whole file.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from remotejobs.errors import HostKeyChanged, HostKeyUnknown

MAX_FILE = 4 << 20


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type ("ssh-ed25519") and its blob."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` and OpenSSH's own question show it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def line(self, name: str) -> str:
        return f"{name} {self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class _Entry:
    revoked: bool
    patterns: str
    key: HostKey


def host_key_name(host: str, port: int) -> str:
    """The name under which OpenSSH keeps the key of this host and port."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


class _Shown(TypedDict):
    """Of the key that a server showed, as errors carry it."""

    server: str
    name: str
    key_type: str
    fingerprint: str
    line: str


class AcceptedKeys:
    """The keys for one server's `name`, in `files` (known_hosts files, perhaps missing) and in `lines`."""

    def __init__(self, name: str, files: Iterable[Path], lines: Iterable[str]) -> None:
        self._name = name
        entries = [entry for text in [*map(_read, files), "\n".join(lines)] for entry in _entries(text)]
        ours = [entry for entry in entries if _matches(entry.patterns, name)]
        self._revoked = {entry.key.blob for entry in ours if entry.revoked}
        self._accepted = [entry.key for entry in ours if not entry.revoked]

    @property
    def types(self) -> list[str]:
        """To be asked for first: a further type of key would look like a changed one."""
        return list(dict.fromkeys(key.type for key in self._accepted))

    def check(self, key: HostKey, server: str, how_to_accept: str) -> None:
        """Raises HostKeyUnknown or HostKeyChanged, unless a person has accepted this very key."""
        shown: _Shown = {
            "server": server,
            "name": self._name,
            "key_type": key.type,
            "fingerprint": key.fingerprint,
            "line": key.line(self._name),
        }
        if key.blob in self._revoked:
            raise HostKeyChanged(
                f"{server} shows a host key that is marked as revoked ({key.type} {key.fingerprint}). "
                "Whoever holds it may not be your server: nothing was sent. Ask its administrators.",
                is_revoked=True,
                **shown,
            )
        if any(key.blob == accepted.blob for accepted in self._accepted):
            return
        if self._accepted:
            accepted = tuple((accepted.type, accepted.fingerprint) for accepted in self._accepted)
            raise HostKeyChanged(self._changed(key, server), accepted=accepted, **shown)
        sentence = f"The host key of {server} is not known ({key.type} {key.fingerprint}). {how_to_accept}"
        raise HostKeyUnknown(sentence, **shown)

    def _changed(self, key: HostKey, server: str) -> str:
        known = ", ".join(f"{accepted.type} {accepted.fingerprint}" for accepted in self._accepted[:4])
        return (
            f"THE HOST KEY OF {server} HAS CHANGED: it shows {key.type} {key.fingerprint}, not {known}. "
            "Somebody may be in between, or it was set up anew. Nothing was sent, and the old key is kept. "
            "Ask its administrators; if they confirm the new key, remove the old one "
            f"(ssh-keygen -R '{self._name}') and accept the new one."
        )


def remember(path: Path, line: str) -> None:
    """Adds a line to a known_hosts file, which is made if it is missing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        # An editor may have left the last line without its end; ours must not be glued to it.
        before = b"" if file.read(1) in (b"", b"\n") else b"\n"
        file.write(before + line.encode() + b"\n")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def _entries(text: str) -> Iterable[_Entry]:
    for line in text.split("\n"):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        # A key of a certificate authority is not a host's key, and paramiko knows no host certificates.
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        # A blob begins with its own type. One that does not is no key, and must not make another look changed.
        if blob[: 4 + len(words[1])] != len(words[1]).to_bytes(4) + words[1].encode():
            continue
        yield _Entry(marker == "@revoked", words[0], HostKey(words[1], blob))


def _matches(patterns: str, name: str) -> bool:
    """A comma list of names and patterns (*, ?); a leading ! takes a match away; |1|... is a hashed name."""
    if patterns.startswith("|"):
        return _is_hash_of(patterns, name)
    found = False
    for pattern in patterns.lower().split(","):
        body = re.escape(pattern.removeprefix("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(body, name):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _is_hash_of(hashed: str, name: str) -> bool:
    try:
        _, kind, salt, digest = hashed.split("|")
        mine = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        return kind == "1" and hmac.compare_digest(mine, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False

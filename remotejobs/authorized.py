"""authorized_keys: the line of a narrow key, and where it stands among others. Whatever else is in the file stays as it is."""

import base64
import binascii
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from remotejobs.errors import BadInput

TYPES = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
OPEN = (
    "This key is not narrow: it stands in ~/.ssh/authorized_keys on {server} already (line {line}), where it opens more than the "
    "gate. As long as that line is there, no other one narrows it. Take it away first, or use a key of its own for this."
)
_GATE = r'command="/bin/sh [^" ]*/\.remotejobs-gate/[0-9.]+/gate"'
_LIMIT = r'(?:,(?:from|expiry-time)="[^"]*")*'
_RUNS_GATE, _IS_NARROW = re.compile(_GATE), re.compile(f"restrict{_LIMIT},{_GATE}{_LIMIT}\\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z", re.ASCII)
_UNFIT_COMMENT = re.compile(r"[^A-Za-z0-9@._+:/-]+")


@dataclass(frozen=True, slots=True)
class PublicKey:
    kind: str
    blob: bytes
    comment: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The one line of a .pub file. Raises BadInput."""
        if "PRIVATE KEY" in text:
            raise BadInput(
                "That is a private key, which never leaves its machine. Name its public half, the file that ends in .pub."
            )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        kind, _, rest = lines[0].partition(" ") if len(lines) == 1 else ("", "", "")
        word, _, comment = rest.strip().partition(" ")
        if kind not in TYPES or (blob := _blob(kind, word)) is None:
            raise BadInput(
                "That is no public key: it is one line that begins with its type, such as ssh-ed25519 AAAA... me@here."
            )
        return cls(kind, blob, _UNFIT_COMMENT.sub("-", comment.strip())[:80])

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """From a .pub file, or from its line itself. Raises BadInput."""
        if str(path).startswith(tuple(f"{kind} " for kind in TYPES)):
            return cls.parse(str(path))
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                return cls.parse(file.read(64 << 10))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.") from error

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return " ".join(filter(None, [self.kind, base64.b64encode(self.blob).decode(), self.comment]))


def _blob(kind: str, word: str) -> bytes | None:
    """What the word holds, if it begins with the key's own type, as every key does."""
    try:
        blob = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return None
    start = len(kind).to_bytes(4, "big") + kind.encode()
    return blob if blob.startswith(start) and len(blob) > len(start) else None


def line(key: PublicKey, gate: str, addresses: tuple[str, ...] = ()) -> str:
    """`restrict` comes with OpenSSH 7.2 (2016); an older sshd knows no such word, and takes the whole line for none."""
    options = ["restrict"]
    if addresses:
        options.append('from="' + ",".join(_address(text) for text in addresses) + '"')
    options.append(f'command="/bin/sh {gate}"')
    return f"{','.join(options)} {key}"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text))
    except ValueError:
        if _HOST.match(text):
            return text
    raise BadInput(
        f"{text!r} is no address that a key can be bound to: give an IP address, a network such as 10.0.0.0/8, or a host."
    )


def open_at(content: bytes, key: PublicKey) -> list[int]:
    """The lines (from 1) in which this key stands, and does not run a gate."""
    return [
        number
        for number, (options, blob) in enumerate(_lines(content), 1)
        if blob == key.blob and not _is_narrow(options)
    ]


def with_line(content: bytes, new: str, key: PublicKey) -> bytes:
    """The file with that line in it once: in the place of an earlier one of ours for the same key, else as the last."""
    lines, kept, is_there = content.split(b"\n"), [], False
    for raw, (options, blob) in zip(lines, _lines(content), strict=True):
        if blob == key.blob and _is_narrow(options):
            if not is_there:
                kept.append(new.encode())
            is_there = True
        else:
            kept.append(raw)
    if is_there:
        return b"\n".join(kept)
    return content + (b"\n" if content and not content.endswith(b"\n") else b"") + new.encode() + b"\n"


def without_lines(content: bytes, key: PublicKey | None) -> tuple[bytes, int]:
    """Without the lines that run a gate (those of `key` alone, if one is named), and how many these were."""
    pairs = list(zip(content.split(b"\n"), _lines(content), strict=True))
    kept = [
        raw
        for raw, (options, blob) in pairs
        if not (_RUNS_GATE.search(options) and (key is None or blob == key.blob))
    ]
    return b"\n".join(kept), len(pairs) - len(kept)


def _is_narrow(options: str) -> bool:
    """A line of ours as it was printed, perhaps with an end in time: with any other word the key may do more."""
    return _IS_NARROW.match(options) is not None


def _lines(content: bytes) -> list[tuple[str, bytes | None]]:
    return [_parsed(raw.decode("latin-1")) for raw in content.split(b"\n")]


def _parsed(text: str) -> tuple[str, bytes | None]:
    """(options, key) of a line, as sshd reads it: options are in front of the type, and end at a space outside of quotes."""
    text = text.strip()
    if not text or text.startswith("#"):
        return "", None
    if text.split(None, 1)[0] in TYPES:
        return "", _key_in(text)
    inside, at = False, 0
    while at < len(text) and (inside or text[at] not in " \t"):
        if text[at] == "\\" and text[at + 1 : at + 2] == '"':
            at += 1
        elif text[at] == '"':
            inside = not inside
        at += 1
    return text[:at], _key_in(text[at:])


def _key_in(text: str) -> bytes | None:
    words = text.split(None, 2)
    return _blob(words[0], words[1]) if len(words) > 1 else None

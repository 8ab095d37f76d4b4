"""Keys that lie in files, with their passphrases and their certificates; and those that lie in no file."""

import base64
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import PKey

MAX_FILE = 64 << 10  # bytes
_OPENSSH = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A private key that its program holds in memory: ed25519, `text` in OpenSSH's format without a passphrase.

    `label` stands for it in sentences; `if_refused` is one more, for a person whose server does not take it.
    """

    label: str
    text: str = field(repr=False)
    if_refused: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A key to try. `blob` is what the server is shown: the certificate where there is one."""

    label: str
    key: "PKey"
    blob: bytes
    if_refused: str = ""


class KeyFiles:
    """Reads key files; what stands in the way of one is added to `obstacles` as a sentence."""

    def __init__(self, passphrase: str | None, certificates: Sequence[Path], obstacles: list[str]) -> None:
        self._passphrase = passphrase
        self._certificates = certificates
        self._obstacles = obstacles
        self.locked: list[Path] = []  # met so far, and still so

    def open_ones(self, paths: Sequence[Path], *, must_exist: bool) -> Iterator[Offer]:
        """Those that open without a question."""
        for path in paths:
            if not path.is_file():
                if must_exist:
                    self._obstacles.append(f"There is no key file {path}.")
                continue
            try:
                key = _load(path, None)
            except _NeedsPassphraseError:
                self.locked.append(path)
                key = self.unlocked(path, self._passphrase) if self._passphrase is not None else None
            else:
                if key is None:
                    self._obstacles.append(f"{path} cannot be read as a key of type ed25519, ecdsa or rsa.")
            if key is not None:
                yield from self.with_certificates(str(path), key, path)

    def unlocked(self, path: Path, passphrase: str) -> "PKey | None":
        """None, with an obstacle noted, where this is not its passphrase."""
        key = _load(path, passphrase)
        if key is None:
            self._obstacles.append(f"{path} cannot be unlocked with that passphrase: try again.")
        else:
            self.locked.remove(path)
        return key

    def with_certificates(self, label: str, key: "PKey", path: Path | None = None) -> Iterator[Offer]:
        """The key with each certificate of it that is valid now, and then alone: a server may know either."""
        beside = [path.with_name(f"{path.name}-cert.pub")] if path else []
        for file in (*beside, *self._certificates):
            if file.is_file() and self._is_valid(file, key):
                key.load_certificate(str(file))
                yield Offer(f"{label} with the certificate {file}", key, key.public_blob.key_blob)
                key.public_blob = None
        yield Offer(label, key, key.asbytes())

    def _is_valid(self, file: Path, key: "PKey") -> bool:
        import paramiko
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

        try:
            with file.open("rb") as opened:
                certificate = load_ssh_public_identity(opened.read(MAX_FILE))
            blob = paramiko.Message(paramiko.PublicBlob.from_file(str(file)).key_blob)
        except (OSError, ValueError, UnsupportedAlgorithm):
            certificate = None
        if not isinstance(certificate, SSHCertificate):
            self._obstacles.append(f"{file} cannot be read as a certificate.")
            return False
        blob.get_string()  # its type
        blob.get_string()  # a nonce
        # The rest begins with the public key that it certifies, as that key's own blob has it after its type.
        if not blob.get_remainder().startswith(_after_type(key)):
            return False
        now = time.time()
        if certificate.valid_after <= now < certificate.valid_before:
            return True
        at = certificate.valid_after if now < certificate.valid_after else certificate.valid_before
        word = "is valid only from" if now < certificate.valid_after else "ended at"
        day = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._obstacles.append(f"The certificate {file} {word} {day}: get a new one.")
        return False


def held_offer(held: HeldKey) -> Offer | None:
    """None where the text is no such key."""
    import paramiko

    try:
        key: PKey = paramiko.Ed25519Key(file_obj=io.StringIO(held.text))
    except (paramiko.SSHException, ValueError, TypeError, IndexError):
        return None
    return Offer(held.label, key, key.asbytes(), held.if_refused)


class _NeedsPassphraseError(Exception):
    pass


def _load(path: Path, passphrase: str | None) -> "PKey | None":
    import paramiko

    is_locked = False
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key: PKey = kind.from_private_key_file(str(path), passphrase)
            return key
        except paramiko.PasswordRequiredException:
            is_locked = True
        except (paramiko.SSHException, ValueError, TypeError, IndexError, OSError):
            continue
    if is_locked:
        raise _NeedsPassphraseError
    return None


def _after_type(key: "PKey") -> bytes:
    blob: bytes = key.asbytes()
    return blob[4 + int.from_bytes(blob[:4]) :]


def public_blob(path: Path) -> bytes | None:
    """The public half: from the file beside the key, or from the key itself, where it stands in clear."""
    import paramiko

    try:
        blob: bytes = paramiko.PublicBlob.from_file(f"{path}.pub").key_blob
        return blob
    except (OSError, ValueError):
        return _own_public_blob(path)


def _own_public_blob(path: Path) -> bytes | None:
    import paramiko

    try:
        with path.open("rb") as file:
            lines = file.read(MAX_FILE).split(b"\n")
        content = base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-")))
    except (OSError, ValueError):
        return None
    if not content.startswith(_OPENSSH):
        return None
    message = paramiko.Message(content[len(_OPENSSH) :])
    for _ in range(3):  # the cipher, and how its key is made
        message.get_string()
    message.get_int()  # how many keys: one
    found: bytes = message.get_string()
    return found or None

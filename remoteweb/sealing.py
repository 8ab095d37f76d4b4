"""Private keys lie encrypted in the database, under a key that is not in it, and that no process of the pages reads.

What is sealed is sealed for one place (an account, a login, a public half): moved to another row, nothing opens it.
"""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import current_app

from remotejobs.errors import LoginError
from remoteweb.config import PREFIX, WrongSetting, key_of_32_bytes
from remoteweb.paths import state_folder
from remoteweb.private_files import is_exposed, make_once

# Imported where it is needed: no start needs it, and it takes a while.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12
FILE = "key-encryption"
_FILE, _KEY = f"{PREFIX}KEY_ENCRYPTION_FILE", f"{PREFIX}KEY_ENCRYPTION_KEY"


class CannotUnseal(LoginError):
    """Nothing was lost, and nothing was sent anywhere."""


@dataclass(frozen=True, slots=True)
class Sealed:
    text: str  # base64: the nonce, then what was sealed
    by: str  # tells the key that sealed it from others, and nothing else of it


class Seal:
    """`name` tells this key from others."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.name = _derived(key, b"remoteweb: the name of a seal", 8).hex()

    def close(self, secret: bytes, *place: str | int) -> Sealed:
        nonce = secrets.token_bytes(NONCE)
        data = nonce + self._cipher().encrypt(nonce, secret, _bound_to(place))
        return Sealed(base64.b64encode(data).decode(), self.name)

    def open(self, sealed: Sealed, *place: str | int) -> bytes:
        """Raises CannotUnseal where another key sealed it, or it was sealed for another place."""
        from cryptography.exceptions import InvalidTag

        if sealed.by != self.name:
            raise CannotUnseal(
                f"It lies encrypted under another key ({sealed.by}) than the one that is given now ({self.name}, {_where()}). "
                "Give the former one back and sign in again, or revoke the key of the server and make another."
            )
        try:
            data = base64.b64decode(sealed.text, validate=True)
            return self._cipher().decrypt(data[:NONCE], data[NONCE:], _bound_to(place))
        except (InvalidTag, ValueError):
            raise CannotUnseal(
                "It is not what was stored for this server and this account: somebody has changed the database. Nothing was "
                "sent. Look at the audit log, then revoke the key and make another."
            ) from None

    def _cipher(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(_derived(self._key, b"remoteweb: keys made for servers", 32))


def seal(*, may_make: bool) -> Seal:
    """Of this program. On one's own machine its key is made when it `may_make` one and there is none.

    Raises WrongSetting, a sentence on what to do.
    """
    given: bytes | None = current_app.config["KEY_ENCRYPTION_KEY"]
    return Seal(given if given is not None else _read(_path(), may_make))


def check() -> None:
    """At the start of a worker. Raises WrongSetting when a file is named, and cannot be used."""
    if current_app.config["KEY_ENCRYPTION_KEY"] is None and current_app.config["KEY_ENCRYPTION_FILE"]:
        _read(_path(), may_make=False)


def _path() -> Path:
    named: Path | None = current_app.config["KEY_ENCRYPTION_FILE"]
    return named or state_folder() / FILE


def _where() -> str:
    return _KEY if current_app.config["KEY_ENCRYPTION_KEY"] is not None else str(_path())


def _read(path: Path, may_make: bool) -> bytes:
    is_ours = current_app.config["KEY_ENCRYPTION_FILE"] is None
    try:
        if is_ours and may_make and not path.exists():
            make_once(path, base64.b64encode(secrets.token_bytes(32)).decode())
        text = path.read_text(encoding="ascii", errors="replace")
        exposed = is_exposed(path)
    except OSError as error:
        named = f"{_FILE} names {path}" if not is_ours else f"{path} is needed"
        raise WrongSetting(
            f"{named}, under which the keys made for servers lie encrypted: {error.strerror}. Put the file back where it was; "
            "without it those keys have to be revoked and made anew."
        ) from None
    if exposed:
        raise WrongSetting(f"Others can read {path}. Nobody but its owner may: chmod 600 {path}.")
    try:
        return key_of_32_bytes(text)
    except ValueError as error:
        raise WrongSetting(f"{path} has to hold {error}.") from None


def _bound_to(place: tuple[str | int, ...]) -> bytes:
    return json.dumps(place, separators=(",", ":")).encode()


def _derived(key: bytes, what_for: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=length, salt=None, info=what_for).derive(key)

"""Private keys lie encrypted in the database, under a key that is not in it, and that no process of the pages reads.

What is sealed is sealed for one place (an account, a login, a public half): moved to another row, nothing opens it.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flask import current_app

from remotejobs.errors import LoginError
from remoteweb.config import PREFIX, WrongSetting, keys_of_32_bytes
from remoteweb.paths import state_folder
from remoteweb.private_files import is_exposed, make_once, replace

# Imported where it is needed: no start needs it, and it takes a while.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12
FILE = "key-encryption"
_FILE, _KEY = f"{PREFIX}KEY_ENCRYPTION_FILE", f"{PREFIX}KEY_ENCRYPTION_KEY"


class CannotUnseal(LoginError):
    """Nothing was lost, and nothing was sent anywhere."""


class Sealed(NamedTuple):
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
        """Raises CannotUnseal where it was sealed for another place."""
        from cryptography.exceptions import InvalidTag

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


class Keyring:
    """The keys that are given: the first seals, those behind it are former ones, under which something may still lie."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.first, *self.former = map(Seal, keys)

    def open(self, sealed: Sealed, *place: str | int) -> bytes:
        """Raises CannotUnseal."""
        for one in (self.first, *self.former):
            if one.name == sealed.by:
                return one.open(sealed, *place)
        raise CannotUnseal(
            f"It lies encrypted under another key ({sealed.by}) than the one that is given now ({self.first.name}, {where()}). "
            "Give the former one back and sign in again, or revoke the key of the server and make another."
        )


def keyring(*, may_make: bool) -> Keyring:
    """Of this program, as it is at this moment. On one's own machine it is made when it `may_make` one and there is none.

    Raises WrongSetting, a sentence on what to do.
    """
    given: tuple[bytes, ...] | None = current_app.config["KEY_ENCRYPTION_KEY"]
    return Keyring(given if given is not None else _read(_path(), may_make))


def is_ours() -> bool:
    """Nobody has named a key or a file: it is made, and may be replaced, by the program."""
    return (
        current_app.config["KEY_ENCRYPTION_KEY"] is None and current_app.config["KEY_ENCRYPTION_FILE"] is None
    )


def put_a_new_key_in_front() -> None:
    """The former one stays behind it. Where one is behind it already, somebody was killed before the end, and it is there."""
    keys = _read(_path(), may_make=True)
    if len(keys) == 1:
        replace(_path(), "\n".join(_text(key) for key in (secrets.token_bytes(32), *keys)))


def take_the_former_out() -> None:
    replace(_path(), _text(_read(_path(), may_make=False)[0]))


def check() -> None:
    """At the start of a worker. Raises WrongSetting when a file is named, and cannot be used."""
    if current_app.config["KEY_ENCRYPTION_KEY"] is None and current_app.config["KEY_ENCRYPTION_FILE"]:
        _read(_path(), may_make=False)


def _path() -> Path:
    named: Path | None = current_app.config["KEY_ENCRYPTION_FILE"]
    return named or state_folder() / FILE


def where() -> str:
    return _KEY if current_app.config["KEY_ENCRYPTION_KEY"] is not None else str(_path())


def _read(path: Path, may_make: bool) -> tuple[bytes, ...]:
    try:
        if is_ours() and may_make and not path.exists():
            make_once(path, _text(secrets.token_bytes(32)))
        text = path.read_text(encoding="ascii", errors="replace")
        exposed = is_exposed(path)
    except OSError as error:
        named = f"{_FILE} names {path}" if not is_ours() else f"{path} is needed"
        raise WrongSetting(
            f"{named}, under which the keys made for servers lie encrypted: {error.strerror}. Put the file back where it was; "
            "without it those keys have to be revoked and made anew."
        ) from None
    if exposed:
        raise WrongSetting(f"Others can read {path}. Nobody but its owner may: chmod 600 {path}.")
    try:
        return keys_of_32_bytes(text)
    except ValueError as error:
        raise WrongSetting(f"{path} has to hold {error}.") from None


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _bound_to(place: tuple[str | int, ...]) -> bytes:
    return json.dumps(place, separators=(",", ":")).encode()


def _derived(key: bytes, what_for: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=length, salt=None, info=what_for).derive(key)

"""Secrets that have to be read again lie encrypted: under a key made from SECRET_KEY, which is not in the database."""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import TYPE_CHECKING

from flask import current_app

from remoteweb import secret

# Imported where it is needed: no command needs it, and it takes a while.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12


def encrypt(text: str, what: str) -> str:
    """`what` it is and whose ("totp 4"): it can be read as nothing else, so that rows cannot be swapped."""
    nonce = secrets.token_bytes(NONCE)
    cipher = _cipher_of(secret.settle(current_app))
    return urlsafe_b64encode(nonce + cipher.encrypt(nonce, text.encode(), what.encode())).decode()


def decrypt(token: str, what: str) -> str | None:
    """None: it was made under a SECRET_KEY that is neither this one nor a former one, for something else, or by somebody else."""
    for key in reversed(secret.keys(current_app)):
        if (text := _decrypt(key, token, what)) is not None:
            return text
    return None


def _decrypt(key: str, token: str, what: str) -> str | None:
    from cryptography.exceptions import InvalidTag

    try:
        data = urlsafe_b64decode(token)
        return _cipher_of(key).decrypt(data[:NONCE], data[NONCE:], what.encode()).decode()
    except (InvalidTag, ValueError):
        return None


@lru_cache(maxsize=4)
def _cipher_of(secret_key: str) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), length=32, salt=None, info=b"remoteweb: secrets at rest")
    return AESGCM(made.derive(secret_key.encode()))

"""Codes of six digits from an app (RFC 6238), as a second factor beside a password."""

import hmac
import secrets
import time
from base64 import b32encode
from typing import TYPE_CHECKING

from remoteweb.access import encrypted
from remoteweb.accounts import Account
from remoteweb.database import begin_writing, db

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP = 30
SECRET = 20  # bytes, as the RFC recommends with SHA-1, the only hash that every app knows


def new_secret() -> str:
    return secrets.token_hex(SECRET)


def address(secret: str, name: str, host: str) -> str:
    """What the QR code says."""
    return _totp(secret).get_provisioning_uri(name, f"remoteweb {host}")


def shown(secret: str) -> str:
    """For typing it in, in groups of four."""
    text = b32encode(bytes.fromhex(secret)).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def keep(account: Account, secret: str) -> None:
    """In the caller's transaction."""
    account.totp, account.totp_used = encrypted.encrypt(secret, _what(account)), 0


def use(account: Account, code: str) -> bool:
    """Whether it is the code of now, or of half a minute before or after, and was not used yet. In the caller's transaction."""
    begin_writing()
    kept = account.totp
    secret = encrypted.decrypt(kept, _what(account)) if kept else None
    step = _step_of(secret, code) if secret else None
    if secret is None or step is None:
        return False
    # Not "unequal": a code that was looked at over a shoulder is older than the last one, or the same.
    used = db.update(Account).where(Account.id == account.id, Account.totp_used < step, Account.totp == kept)
    # Under the present key from now on, whichever it was under.
    used = used.values(totp_used=step, totp=encrypted.encrypt(secret, _what(account)))
    return db.session.scalar(used.returning(Account.id)) is not None


def is_right(secret: str, code: str) -> bool:
    return _step_of(secret, code) is not None


def _step_of(secret: str, code: str) -> int | None:
    typed = "".join(code.split()).encode("utf-8", "replace")
    now = int(time.time()) // STEP
    totp = _totp(secret)
    right = [
        step for step in (now - 1, now, now + 1) if hmac.compare_digest(totp.generate(step * STEP), typed)
    ]
    return right[0] if right else None


def _totp(secret: str) -> "TOTP":
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.twofactor.totp import TOTP

    return TOTP(bytes.fromhex(secret), 6, SHA1(), STEP)  # noqa: S303  what the apps know


def _what(account: Account) -> str:
    return f"totp {account.id}"

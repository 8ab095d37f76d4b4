"""Recovery codes: ten, shown once, each good for one sign-in in the place of a phone that is lost."""

import secrets
import time
from base64 import b32encode

from remoteweb.access.sessions import digest
from remoteweb.accounts import RecoveryCode
from remoteweb.database import begin_writing, db

CODES = 10
BYTES = 10  # 80 bits: nobody guesses one, so a plain digest of it is kept


def make(account_id: int) -> list[str]:
    """New ones, in the place of those that there were. In the caller's transaction."""
    begin_writing()
    db.session.execute(db.delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
    codes = [b32encode(secrets.token_bytes(BYTES)).decode() for _ in range(CODES)]
    now = time.time()
    db.session.add_all(
        RecoveryCode(digest=_digest(code, account_id), account_id=account_id, created_at=now)
        for code in codes
    )
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)).lower() for code in codes]


def use(account_id: int, code: str) -> bool:
    """Whether it is one that was not used yet. In the caller's transaction."""
    begin_writing()
    used = (
        db.update(RecoveryCode)
        .where(
            RecoveryCode.digest == _digest(code, account_id),
            RecoveryCode.account_id == account_id,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=time.time())
    )
    return db.session.scalar(used.returning(RecoveryCode.account_id)) is not None


def left(account_id: int) -> int:
    query = db.select(db.func.count()).where(
        RecoveryCode.account_id == account_id, RecoveryCode.used_at.is_(None)
    )
    return db.session.scalar(query) or 0


def _digest(code: str, account_id: int) -> str:
    return digest(f"{account_id} {''.join(code.split()).replace('-', '').upper()}")

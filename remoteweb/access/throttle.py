"""How often something may be tried: buckets of tries in the database, which refill with time.

In the database, so that two processes together allow no more than one would, and a restart forgets nothing. A stranger
who hammers at an account empties the bucket of the strangers; a browser that was signed in to it before has one of its
own (`known`), and so has a passkey, which nobody can guess: its owner is not locked out by that.
"""

import ipaddress
import math
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from remoteweb.accounts import Bucket
from remoteweb.database import begin_writing, db

KEPT_SECONDS = 2 * 86400.0


@dataclass(frozen=True, slots=True)
class Limit:
    tries: int  # at once
    every: float  # seconds after which there is one more

    def __post_init__(self) -> None:
        # A bucket that has been swept counts as full: by then it is.
        assert self.tries * self.every <= KEPT_SECONDS  # noqa: S101  of our own constants


ADDRESS = Limit(20, 60.0)  # sign-ins of any account from one address
ACCOUNT = Limit(10, 600.0)  # passwords for one account: 154 in the first day, 144 in each later one
CODE = Limit(5, 900.0)  # codes of six digits, after the right password
PROOF = Limit(10, 300.0)  # by one session


def take(key: str, limit: Limit) -> float:
    """0.0: one try was taken. Otherwise none is left, and there will be one in that many seconds.

    Committed at once, before what is tried: who cuts the line in between has had his try.
    """
    begin_writing()
    now = time.time()
    db.session.execute(delete(Bucket).where(Bucket.filled_at < now - KEPT_SECONDS))
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[db.engine.dialect.name]
    left = _left(limit, now)
    # One statement, with its condition: of two at once the second sees what the first has left.
    taken = db.session.scalar(
        insert(Bucket)
        .values(key=key, tokens=limit.tries - 1.0, filled_at=now)
        .on_conflict_do_update(
            index_elements=[Bucket.key], set_={"tokens": left - 1.0, "filled_at": now}, where=left >= 1.0
        )
        .returning(Bucket.tokens)
    )
    missing = 0.0
    if taken is None:
        missing = 1.0 - (db.session.scalar(select(left).where(Bucket.key == key)) or 0.0)
    db.session.commit()
    return missing * limit.every


def refill(key: str) -> None:
    """It was the right one: the wrong tries before it were slips. In the caller's transaction."""
    begin_writing()
    db.session.execute(delete(Bucket).where(Bucket.key == key))


def of_address(address: str | None) -> str:
    """The key of an address: of IPv6 the first 64 bits, since whoever has one has them all."""
    try:
        at = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "address ?"
    if isinstance(at, ipaddress.IPv6Address):
        if at.ipv4_mapped is None:
            return f"address {ipaddress.ip_network((at, 64), strict=False)}"
        at = at.ipv4_mapped
    return f"address {at}"


def when(seconds: float) -> str:
    """How long to wait, for a person."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


def _left(limit: Limit, now: float) -> Any:
    """How many there are by now. A clock that was set back adds none, and takes none away."""
    filled = Bucket.tokens + case((Bucket.filled_at < now, now - Bucket.filled_at), else_=0.0) / limit.every
    return case((filled < float(limit.tries), filled), else_=float(limit.tries))

"""The host keys that a person accepted here. They count beside those that ssh knows where the syncs run."""

import base64
import binascii
import time
from dataclasses import dataclass

from remotejobs.errors import BadInput, RemoteJobsError
from remotejobs.hostkeys import HostKey as ShownKey
from remoteweb import audit
from remoteweb.accounts import Account, HostKey
from remoteweb.database import begin_writing, db

MAX_LINE = 16_384  # an RSA key of 16,384 bits has 2,800
MOST = 1000  # of one account


class OtherKeyKnown(RemoteJobsError):
    """The name has another key: only a person who says that it stands for several machines may add one."""

    exit_code = 3

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Another host key of {name} is accepted already, so this one was not. If the administrators say that "
            "the key has changed, remove the old one first; if the name stands for several machines, say so."
        )


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line of known_hosts with a plain name, taken apart."""

    name: str
    type: str
    key: str  # base64

    @classmethod
    def parse(cls, line: str) -> "KeyLine":
        """Raises BadInput for what is no whole key."""
        words = line.split(" ") if len(line) <= MAX_LINE else []
        try:
            name, kind, text = words
            blob = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise BadInput("This is not a line with a host key.") from None
        if (
            not name
            or set(name) & set("*?!,|#@")
            or not blob.startswith(len(kind).to_bytes(4) + kind.encode())
        ):
            raise BadInput("This is not a line with a host key.")
        return cls(name, kind, text)

    @property
    def fingerprint(self) -> str:
        return ShownKey(self.type, base64.b64decode(self.key)).fingerprint


def lines(owner_id: int) -> list[str]:
    """Of all servers of this account, as in known_hosts."""
    query = db.select(HostKey.name, HostKey.type, HostKey.key).where(HostKey.owner_id == owner_id)
    return [" ".join(row) for row in db.session.execute(query.order_by(HostKey.id))]


def accepted(owner_id: int) -> list[HostKey]:
    query = db.select(HostKey).where(HostKey.owner_id == owner_id)
    return list(db.session.scalars(query.order_by(HostKey.name, HostKey.id)))


def accept(owner_id: int, line: str, by: str, *, besides: bool = False) -> KeyLine:
    """Store exactly this key, in the caller's transaction.

    `besides`: the name may have others, since it stands for several machines. Raises OtherKeyKnown, BadInput.
    """
    begin_writing()
    # One after the other: two that accept at once would each find no other key.
    db.session.execute(db.select(Account.id).where(Account.id == owner_id).with_for_update())
    found = KeyLine.parse(line)
    mine = db.select(HostKey).where(HostKey.owner_id == owner_id)
    of_name = list(db.session.scalars(mine.where(HostKey.name == found.name)))
    if any(row.key == found.key for row in of_name):
        return found
    if of_name and not besides:
        raise OtherKeyKnown(found.name)
    if (db.session.scalar(db.select(db.func.count()).select_from(mine.subquery())) or 0) >= MOST:
        raise BadInput(f"{MOST:,} host keys are kept already. Remove some that are not needed any more.")
    row = HostKey(owner_id=owner_id, name=found.name, type=found.type, key=found.key, accepted_by=by)
    row.accepted_at = time.time()
    db.session.add(row)
    return found


def remove(key_id: int, owner_id: int, how: str = "") -> KeyLine | None:
    """Its server is not trusted any more, until somebody accepts its key again. In the caller's transaction.

    None: it is not there any more, or somebody else's.
    """
    begin_writing()
    gone = db.delete(HostKey).where(HostKey.id == key_id, HostKey.owner_id == owner_id)
    row = db.session.execute(gone.returning(HostKey.name, HostKey.type, HostKey.key)).first()
    if row is None:
        return None
    key = KeyLine(*row)
    audit.note("removed a host key", f"{key.name} {key.type} {key.fingerprint}", how)
    return key

"""The tables of who may come in, and of what was done by whom. Times are seconds since 1970, UTC (REAL), by our clock."""

from sqlalchemy import (
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    and_,
    func,
    select,
    text,
)
from sqlalchemy.orm import Mapped, aliased, mapped_column

from remoteweb.database import Model, db

FIRST = 1  # the account that every database has: an administrator, whose the things made on a terminal are
ADMINISTRATOR, USER, GUEST = "administrator", "user", "guest"


class Account(Model):
    """A person. Disabled, and never deleted: the audit log goes on naming it."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)  # in lower case
    role: Mapped[str] = mapped_column(Text)  # administrator, user, guest
    guest_of: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE")
    )  # a guest's: whose servers and jobs it sees
    handle: Mapped[str] = mapped_column(Text, default="")  # random, what a passkey knows the account by
    password: Mapped[str] = mapped_column(Text, default="")  # its hash; "": there is none
    totp: Mapped[str] = mapped_column(Text, default="")  # its secret, encrypted; "": there is none
    totp_used: Mapped[int] = mapped_column(default=0)  # the time step of the last code: none counts twice
    created_at: Mapped[float] = mapped_column(Float)
    disabled_at: Mapped[float | None] = mapped_column(Float)

    @property
    def sees(self) -> int:
        """The account whose servers and jobs it sees."""
        return self.guest_of if self.guest_of is not None else self.id

    @property
    def is_shut_out(self) -> bool:
        """It was disabled, or the one that it is a guest of."""
        owner = None if self.guest_of is None else db.session.get(Account, self.guest_of)
        return self.disabled_at is not None or (owner is not None and owner.disabled_at is not None)


def comes_in() -> ColumnElement[bool]:
    """Of an account, in a query: it is not shut out."""
    owner = aliased(Account)
    is_open = select(owner.id).where(owner.id == func.coalesce(Account.guest_of, Account.id))
    return and_(
        Account.disabled_at.is_(None), is_open.where(owner.disabled_at.is_(None)).correlate(Account).exists()
    )


class Passkey(Model):
    __tablename__ = "passkey"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    host: Mapped[str] = mapped_column(Text)  # the name that it is for: browsers offer it under no other
    credential_id: Mapped[str] = mapped_column(Text, unique=True)  # base64url
    public_key: Mapped[str] = mapped_column(Text)  # base64url, CBOR (COSE key)
    sign_count: Mapped[int] = mapped_column(default=0)
    label: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)


class RecoveryCode(Model):
    __tablename__ = "recovery_code"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)


class Session(Model):
    """A browser that is signed in. Its cookie holds a secret; only the SHA-256 digest of that is kept."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(primary_key=True)  # what the page that lists them names
    digest: Mapped[str] = mapped_column(Text, unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    seen_at: Mapped[float] = mapped_column(Float)
    idle: Mapped[float] = mapped_column(Float)  # seconds without a look after which it is over
    expires_at: Mapped[float] = mapped_column(Float)  # when it is over however often it looks
    proved_at: Mapped[float] = mapped_column(Float, default=0.0)  # the last proof that it is the person
    browser: Mapped[str] = mapped_column(Text, default="")  # as it calls itself
    address: Mapped[str] = mapped_column(Text, default="")  # where it came from


class Entry(Model):
    """What works once: a printed link's token, an invitation's, a passkey's challenge. Only SHA-256 digests are kept."""

    __tablename__ = "entry"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)  # link, invitation, challenge
    account_id: Mapped[int] = mapped_column(default=FIRST, server_default=text("1"))
    created_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float)


class Bucket(Model):
    """What is left of a number of tries, refilled with time: of sign-ins per account and per address."""

    __tablename__ = "bucket"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    tokens: Mapped[float] = mapped_column(Float)
    filled_at: Mapped[float] = mapped_column(Float)


class Audit(Model):
    """What was done by whom. Rows are only added; each one's digest is over its own words and the digest before it."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_account", "account_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    account_id: Mapped[int | None]  # None: the program itself, or a stranger
    who: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    what: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text)


class Refusal(Model):
    """What was refused since a row of the audit log said so: how often, until the next row may say it."""

    __tablename__ = "refusal"

    key: Mapped[str] = mapped_column(Text, primary_key=True)  # the account or "stranger", and the reason
    account_id: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE")
    )  # None: strangers
    reason: Mapped[str] = mapped_column(Text)
    since: Mapped[float] = mapped_column(Float)
    count: Mapped[int] = mapped_column(default=0)
    address: Mapped[str] = mapped_column(Text, default="")  # of the last one


class HostKey(Model):
    """A host key that a person accepted, beside those of ~/.ssh/known_hosts. A name may have several."""

    __tablename__ = "host_key"
    __table_args__ = (UniqueConstraint("owner_id", "name", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)  # as in known_hosts: host, or [host]:port
    type: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)  # base64
    accepted_by: Mapped[str] = mapped_column(Text)
    accepted_at: Mapped[float] = mapped_column(Float)

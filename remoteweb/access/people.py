"""Accounts as they are made, changed and shut, from the page and from the terminal. Each is written, noted and committed here."""

import re
import secrets
import time
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from remoteweb import actions, audit, logins
from remoteweb.access import passwords, sessions
from remoteweb.accounts import (
    ADMINISTRATOR,
    FIRST,
    GUEST,
    USER,
    Account,
    Entry,
    Passkey,
    RecoveryCode,
    Session,
)
from remoteweb.database import begin_writing, db
from remoteweb.ways import Login

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}\Z")
UNNAMED = "admin"  # the first account, until somebody has a name for it


class Refused(ValueError):
    """A sentence for a person."""


def find(name: str) -> Account | None:
    name = name.strip().lower()
    # What can be no name is not looked for: a database may refuse its characters.
    return db.session.scalar(select(Account).where(Account.name == name)) if NAME.match(name) else None


def named(name: str) -> Account:
    account = find(name)
    if account is None:
        raise Refused(f"There is no account {name.strip().lower()[:64]}. `remoteweb users` lists them.")
    return account


def all_of_them() -> Sequence[Account]:
    return db.session.scalars(db.select(Account).order_by(Account.name)).all()


def create(name: str, role: str = USER, guest_of: int | None = None) -> Account:
    """A new account, without a way in yet.

    The first account of a database that nobody has come in to is an administrator without a name: whoever is made first
    gets that one, and with it what was added on the terminal.
    """
    begin_writing()
    name = name.strip().lower()
    if not NAME.match(name):
        raise Refused(
            "A name has up to 64 letters a-z, digits and . _ - + @, and begins with a letter or a digit."
        )
    if guest_of is not None and db.session.get_one(Account, guest_of).guest_of is not None:
        raise Refused("A guest has nothing of its own that another guest could look at.")
    if find(name) is not None:
        raise Refused(f"There is an account {name} already.")
    try:
        account = _made(name, role, guest_of)
    except IntegrityError:  # on PostgreSQL another can come between the look and the INSERT
        db.session.rollback()
        raise Refused(f"There is an account {name} already.") from None
    audit.note("made the account", name, account.role)
    db.session.commit()
    return account


def _made(name: str, role: str, guest_of: int | None) -> Account:
    """Its row, flushed."""
    account = None if role == GUEST else _unclaimed()
    if account is None:
        handle = secrets.token_urlsafe(32)
        account = Account(name=name, role=role, guest_of=guest_of, handle=handle, created_at=time.time())
        db.session.add(account)
    account.name = name
    db.session.flush()
    return account


def set_password(account: Account, password: str, keep_session: int | None = None) -> None:
    """Every other browser of the account is signed out. Raises WeakPassword."""
    passwords.refuse_weak(password, account.name)
    hashed = passwords.hashed(password)  # before the transaction: it takes a while
    begin_writing()
    account.password = hashed
    sessions.end_all(account.id, but=keep_session)
    audit.note("set the password of", account.name)
    db.session.commit()


def remove_password(account: Account, keep_session: int | None = None) -> None:
    """With it goes the code that is asked for beside it: a recovery code then lets in alone."""
    begin_writing()
    account.password, account.totp = "", ""
    sessions.end_all(account.id, but=keep_session)
    audit.note("removed the password of", account.name)
    db.session.commit()


def disable(account: Account) -> None:
    """It comes in no more, nor do its guests, and is signed out everywhere. What it has stays, and nothing is done for it:
    what waits is withdrawn, logins to servers are given up, and the worker leaves its servers alone.
    """
    begin_writing()
    others = db.select(Account.id).where(
        Account.role == ADMINISTRATOR, Account.disabled_at.is_(None), Account.id != account.id
    )
    if account.role == ADMINISTRATOR and db.session.scalar(others.limit(1)) is None:
        raise Refused(f"{account.name} is the only administrator: nobody could let anybody in any more.")
    account.disabled_at = time.time()
    sessions.end_all(account.id)
    db.session.execute(db.delete(Entry).where(Entry.account_id == account.id))
    for login in db.session.scalars(
        db.select(Login).where(Login.owner_id == account.id, Login.ended_at.is_(None))
    ).all():
        logins.give_up(login)
    actions.withdraw_all(account.id, "Withdrawn: the account was shut out.")
    audit.note("disabled the account", account.name)
    db.session.commit()


def enable(account: Account) -> None:
    begin_writing()
    account.disabled_at = None
    audit.note("enabled the account", account.name)
    db.session.commit()


def forget_ways_in(account: Account) -> None:
    """Password, passkeys, codes and open sessions: as after a lost phone and a forgotten password."""
    begin_writing()
    account.password, account.totp = "", ""
    for table in (Passkey, RecoveryCode):
        db.session.execute(db.delete(table).where(table.account_id == account.id))
    db.session.execute(db.delete(Entry).where(Entry.account_id == account.id))
    sessions.end_all(account.id)
    audit.note("removed every way in of", account.name)
    db.session.commit()


def ways_in(account: Account) -> list[str]:
    """For a person: "2 passkeys", "password"."""
    query = db.select(db.func.count()).where(Passkey.account_id == account.id)
    passkeys = db.session.scalar(query) or 0
    ways = [f"{passkeys} passkey{'s' if passkeys > 1 else ''}"] if passkeys else []
    if account.password:
        ways.append("password and code" if account.totp else "password")
    return ways


def can_anybody_sign_in() -> bool:
    """Whether there is a password or a passkey at all: otherwise only a link lets in."""
    passkey = db.select(Passkey.id).where(Passkey.account_id == Account.id).exists()
    query = db.select(Account.id).where(db.or_(Account.password != "", passkey)).limit(1)
    with db.engine.connect() as connection:
        return connection.execute(query).first() is not None


def _unclaimed() -> Account | None:
    """The first account, if nobody has come in to it: on a laptop where links are in use it is somebody's already.

    Of two that ask at once the second waits, and then sees whose it is.
    """
    first = db.select(Account).where(Account.id == FIRST).with_for_update()
    account: Account = db.session.scalars(first.execution_options(populate_existing=True)).one()
    in_use = [
        db.select(table.account_id).where(table.account_id == FIRST).limit(1) for table in (Passkey, Session)
    ]
    if account.name != UNNAMED or account.password or any(db.session.scalar(one) for one in in_use):
        return None
    return account
